//! One log of everything that is not output of a command: each line with its time and origin.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many lines a report shows.
const KEPT: usize = 20;

/// A line longer than this is broken: a machine gone wild must not fill our memory.
const LONGEST: usize = 4096;

/// Who said a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The log port.
    Lucos,
    /// The guest's console.
    Guest,
    /// QEMU's standard error.
    Qemu,
    /// Bochs about itself.
    Bochs,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Lucos => "lucos",
            Self::Guest => "guest",
            Self::Qemu => "qemu ",
            Self::Bochs => "bochs",
        }
    }
}

/// The log file with its last lines in memory.
pub struct Log {
    inner: Mutex<Inner>,
    start: Instant,
}

struct Inner {
    file: File,
    last: VecDeque<String>,
}

impl Log {
    /// Starts a new file, in place of an old one.
    pub fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(Self {
            inner: Mutex::new(Inner { file: File::create(path)?, last: VecDeque::new() }),
            start: Instant::now(),
        })
    }

    /// Adds one line. That the disk is full must not end a session.
    pub fn line(&self, origin: Origin, text: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let line = format!("{seconds:9.3} {}| {text}", origin.name());
        let mut inner = self.lock();
        let _ = writeln!(inner.file, "{line}");
        if inner.last.len() == KEPT {
            inner.last.pop_front();
        }
        inner.last.push_back(line);
    }

    /// The last lines, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.lock().last.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes bytes and calls `each` for every line that they complete.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for &byte in bytes {
            if byte != b'\n' && self.rest.len() < LONGEST {
                self.rest.push(byte);
                continue;
            }
            self.flush(&mut each);
            if byte != b'\n' {
                self.rest.push(byte);
            }
        }
    }

    /// Gives what is left at the end as a line of its own.
    pub fn finish(&mut self, mut each: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            self.flush(&mut each);
        }
    }

    fn flush(&mut self, each: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.rest);
        each(text.trim_end_matches('\r'));
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in [&b"ab"[..], b"c\r\n\nd", b"ef"] {
            lines.push(piece, |line| seen.push(line.to_owned()));
        }
        lines.finish(|line| seen.push(line.to_owned()));
        assert_eq!(seen, ["abc", "", "def"]);
    }

    #[test]
    fn endless_lines_are_broken_and_nothing_is_lost() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        lines.push(&vec![b'x'; 2 * LONGEST + 5], |line| seen.push(line.len()));
        lines.finish(|line| seen.push(line.len()));
        assert_eq!(seen, [LONGEST, LONGEST, 5]);
    }

    #[test]
    fn only_the_last_lines_are_kept_in_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/log");
        let log = Log::create(&path).expect("created");
        for number in 0..50 {
            log.line(Origin::Lucos, &format!("line {number}"));
        }
        let last = log.last_lines();
        assert_eq!(last.len(), KEPT);
        assert!(last.last().is_some_and(|line| line.ends_with("line 49")));
        let text = fs::read_to_string(&path).expect("written");
        assert_eq!(text.lines().count(), 50);
    }
}
