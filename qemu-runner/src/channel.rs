//! The pipes between a machine's ports and us.
//!
//! Pipes, and not sockets: each byte that a port sends takes most of a kilobyte of a socket's
//! buffer. A socket is full after some hundred bytes, and the port then waits for us, which makes
//! the machine's time depend on the host's.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat, open};
use rustix::pipe::fcntl_setpipe_size;

/// QEMU opens its ends before the machine runs; longer than this means that it hangs.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// What a pipe can hold: the most that everybody may ask for.
const PIPE_SIZE: usize = 1 << 20;

/// What QEMU writes, until it ends.
pub type Source = io::Chain<Cursor<Vec<u8>>, File>;

/// A pipe into which QEMU will write.
pub struct Channel {
    reader: File,
    path: PathBuf,
}

impl Channel {
    /// Makes the pipe in a folder.
    pub fn make(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Opened without waiting for the other side.
        let reader =
            open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        // A smaller pipe does too.
        let _ = fcntl_setpipe_size(&reader, PIPE_SIZE);
        Ok(Self { reader: File::from(reader), path })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Holds the other end until this is dropped, for an emulator that opens it late: there is somebody
    /// from now on.
    pub fn hold(&self) -> io::Result<File> {
        File::options().write(true).open(&self.path)
    }

    /// Waits for QEMU as long as `alive` says that it runs.
    pub fn accept(&self, mut alive: impl FnMut() -> bool) -> io::Result<Source> {
        let deadline = Instant::now() + CONNECT_LIMIT;
        let mut first = vec![0];
        loop {
            match (&self.reader).read(&mut first) {
                // Nobody has the other end.
                Ok(0) if !alive() => return Err(ErrorKind::ConnectionAborted.into()),
                Ok(0) if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
                Ok(0) => thread::sleep(Duration::from_millis(5)),
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    first.clear();
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        fcntl_setfl(&self.reader, OFlags::empty())?;
        Ok(Cursor::new(first).chain(self.reader.try_clone()?))
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
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_written_is_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let channel = Channel::make(folder.path(), "port").expect("a pipe");
        let path = channel.path().to_owned();
        let writer = thread::spawn(move || {
            let mut file = File::options().write(true).open(path).expect("opened");
            // More than a socket would take a byte at a time.
            for number in 0..20_000_u32 {
                file.write_all(&[number as u8]).expect("written");
            }
        });
        let mut read = Vec::new();
        writer.join().expect("written without a reader that reads");
        let result = channel.accept(|| true);
        // The writer may be gone already: all that it wrote is still there.
        pump(result.expect("connected"), |bytes| read.extend_from_slice(bytes));
        assert!(read.iter().copied().eq((0..20_000_u32).map(|number| number as u8)));
    }

    #[test]
    fn a_held_end_waits_for_a_late_writer() {
        let folder = tempfile::tempdir().expect("a folder");
        let channel = Channel::make(folder.path(), "port").expect("a pipe");
        let held = channel.hold().expect("held");
        let source = channel.accept(|| true).expect("connected, though nobody has written");
        let reader = thread::spawn(move || {
            let mut read = Vec::new();
            pump(source, |bytes| read.extend_from_slice(bytes));
            read
        });
        let mut late = File::options().write(true).open(channel.path()).expect("opened");
        late.write_all(b"late").expect("written");
        drop((late, held));
        assert_eq!(reader.join().expect("read to the end"), b"late");
    }

    #[test]
    fn an_emulator_that_ended_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let channel = Channel::make(folder.path(), "port").expect("a pipe");
        let error = channel.accept(|| false).expect_err("nobody there");
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }
}
