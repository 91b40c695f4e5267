//! The sockets between a machine's ports and us.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// QEMU connects before the machine runs; longer than this means that it hangs.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// A socket to which QEMU will connect.
pub struct Channel {
    listener: UnixListener,
    path: PathBuf,
}

impl Channel {
    /// Makes the socket in a folder.
    pub fn bind(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for QEMU as long as `alive` says that it runs.
    pub fn accept(&self, mut alive: impl FnMut() -> bool) -> io::Result<UnixStream> {
        let deadline = Instant::now() + CONNECT_LIMIT;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) if !alive() => return Err(ErrorKind::ConnectionAborted.into()),
                Err(_) if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Reads until the other side closes, and hands every piece on.
pub fn pump(mut source: impl Read, mut each: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => each(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A killed QEMU resets its sockets.
            Err(_) => return,
        }
    }
}
