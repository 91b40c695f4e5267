//! QEMU's server for debuggers: a machine that is run instruction by instruction.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::monitor::Monitor;

/// No step takes longer, however busy the host is.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection to the server. The machine stands still but for [`Gdb::go_on`] and [`Gdb::step`].
pub struct Gdb {
    reader: BufReader<UnixStream>,
}

impl Gdb {
    /// Has QEMU make a server with a socket at `path`, and connects to it.
    ///
    /// # Errors
    /// When QEMU has ended or does not do it.
    pub fn connect(monitor: &mut Monitor, path: &Path) -> io::Result<Self> {
        // A running machine would be stopped when somebody connects, and the server would say so on its
        // own account.
        monitor.pause()?;
        monitor.serve_debugger(path)?;
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut gdb = Self { reader: BufReader::new(stream) };
        // Why the machine stands still.
        gdb.ask("?")?;
        Ok(gdb)
    }

    /// RIP.
    ///
    /// # Errors
    /// When QEMU has ended or answers something else.
    pub fn rip(&mut self) -> io::Result<u64> {
        self.register(16)
    }

    /// RSP.
    ///
    /// # Errors
    /// When QEMU has ended or answers something else.
    pub fn rsp(&mut self) -> io::Result<u64> {
        self.register(7)
    }

    /// The registers come one behind the other, as words.
    fn register(&mut self, number: usize) -> io::Result<u64> {
        let answer = self.ask("g")?;
        let register = answer.get(16 * number..16 * number + 16).and_then(word);
        register.ok_or_else(|| unexpected(&answer))
    }

    /// Eight bytes of the memory that the processor sees.
    ///
    /// # Errors
    /// When QEMU has ended, or nothing is mapped there.
    pub fn read(&mut self, address: u64) -> io::Result<u64> {
        let answer = self.ask(&format!("m{address:x},8"))?;
        word(&answer).ok_or_else(|| unexpected(&answer))
    }

    /// Lets the machine run until it is about to execute the instruction at `address`.
    ///
    /// # Errors
    /// When QEMU has ended, or the instruction is not reached.
    pub fn go_on(&mut self, address: u64) -> io::Result<()> {
        self.does(&format!("Z0,{address:x},1"))?;
        let stopped = self.ask("c")?;
        self.does(&format!("z0,{address:x},1"))?;
        if self.rip()? == address { Ok(()) } else { Err(unexpected(&stopped)) }
    }

    /// Lets it execute one instruction, without interrupts.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn step(&mut self) -> io::Result<()> {
        self.ask("s").map(|_| ())
    }

    /// Lets it run, for good.
    ///
    /// # Errors
    /// When QEMU has ended.
    pub fn leave(mut self) -> io::Result<()> {
        self.does("D")
    }

    fn does(&mut self, request: &str) -> io::Result<()> {
        match self.ask(request)?.as_str() {
            "OK" => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// A packet is `$`, text, `#` and the sum of the text's bytes.
    fn ask(&mut self, request: &str) -> io::Result<String> {
        let sum = request.bytes().fold(0, u8::wrapping_add);
        write!(self.reader.get_mut(), "${request}#{sum:02x}")?;
        self.reader.skip_until(b'$')?;
        let mut answer = Vec::new();
        self.reader.read_until(b'#', &mut answer)?;
        self.reader.read_exact(&mut [0; 2])?;
        self.reader.get_mut().write_all(b"+")?;
        answer.pop();
        String::from_utf8(answer).map_err(|_| unexpected("no text"))
    }
}

/// A word in the byte order of memory.
fn word(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok())?.map(u64::swap_bytes)
}

fn unexpected(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("unexpected answer to the debugger: {text}"))
}
