//! Reading the log, which the kernel maps into tasks with the right to read it.

use core::sync::atomic::{Ordering, fence};

use lucos_abi::object::{LOG_FIRST, LOG_MOVING, LogRing};

/// Copies what was logged from stream offset `from` on into `to`. Returns the offset of the first byte
/// copied (later than `from` when the log has moved on) and how many were: none from before a gap
/// and behind it at once.
///
/// A task without the right to read the log must not call this: the kernel ends it.
pub fn read_log(from: u64, to: &mut [u8]) -> (u64, usize) {
    read(ring(), from, to)
}

#[cfg(target_os = "none")]
fn ring() -> &'static LogRing {
    // SAFETY: the kernel maps the ring there, readable, and all of it can change at any time: it is
    // atomic.
    unsafe { &*(lucos_abi::layout::LOG as *const LogRing) }
}

#[cfg(not(target_os = "none"))]
fn ring() -> &'static LogRing {
    static NOTHING: LogRing = LogRing::new();
    &NOTHING
}

fn read(ring: &LogRing, from: u64, to: &mut [u8]) -> (u64, usize) {
    loop {
        let written = ring.written();
        // The next byte may already be where the oldest one was.
        let oldest = (written + 1).saturating_sub(LOG_MOVING);
        let (start, end) = match from < LOG_FIRST {
            true if oldest > LOG_FIRST => (from, LOG_FIRST),
            true => (from.min(written), written),
            false => (from.clamp(oldest.min(written), written), written),
        };
        let mut copied = 0;
        for (byte, offset) in to.iter_mut().zip(start..end) {
            *byte = ring.at(offset).map_or(0, |place| place.load(Ordering::Relaxed));
            copied += 1;
        }
        fence(Ordering::Acquire);
        if start < LOG_FIRST || ring.written() < start + LOG_MOVING {
            return (start, copied);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use lucos_abi::object::{LOG_FIRST, LOG_MOVING, LogRing};

    /// The byte at a stream offset.
    fn byte(offset: u64) -> u8 {
        (offset % 251) as u8
    }

    fn log(ring: &LogRing, count: u64) {
        for _ in 0..count {
            ring.push(byte(ring.written()));
        }
    }

    #[track_caller]
    fn check(ring: &LogRing, from: u64, expected: u64, count: usize) {
        let mut bytes = [0; 64];
        assert_eq!(read(ring, from, &mut bytes), (expected, count));
        let logged: Vec<u8> = (expected..).map(byte).take(count).collect();
        assert_eq!(bytes[..count], logged);
    }

    #[test]
    fn a_log_that_has_not_moved_on_is_in_one_piece() {
        let ring = Box::new(LogRing::new());
        check(&ring, 0, 0, 0);
        check(&ring, u64::MAX, 0, 0);
        log(&ring, 100);
        check(&ring, 0, 0, 64);
        check(&ring, 64, 64, 36);
        check(&ring, 500, 100, 0);
        log(&ring, LOG_FIRST);
        check(&ring, LOG_FIRST - 32, LOG_FIRST - 32, 64);
    }

    #[test]
    fn what_was_logged_first_stays_and_the_rest_moves_on() {
        let ring = Box::new(LogRing::new());
        log(&ring, LOG_FIRST + 3 * LOG_MOVING);
        let written = ring.written();
        check(&ring, 0, 0, 64);
        check(&ring, LOG_FIRST - 10, LOG_FIRST - 10, 10);
        check(&ring, LOG_FIRST, written + 1 - LOG_MOVING, 64);
        check(&ring, written - 10, written - 10, 10);
        check(&ring, u64::MAX, written, 0);
    }

    #[test]
    fn the_last_byte_that_fits_is_still_in_one_piece() {
        let ring = Box::new(LogRing::new());
        log(&ring, LOG_FIRST + LOG_MOVING - 1);
        check(&ring, LOG_FIRST - 32, LOG_FIRST - 32, 64);
        log(&ring, 1);
        check(&ring, LOG_FIRST - 32, LOG_FIRST - 32, 32);
    }

    #[test]
    fn what_is_read_while_the_log_is_written_was_logged() {
        let ring = Box::new(LogRing::new());
        std::thread::scope(|scope| {
            scope.spawn(|| log(&ring, 20 * LOG_MOVING));
            while ring.written() < 20 * LOG_MOVING {
                let mut bytes = [0; 512];
                let (start, count) = read(&ring, LOG_FIRST, &mut bytes);
                let logged: Vec<u8> = (start..).map(byte).take(count).collect();
                assert_eq!(bytes[..count], logged, "{start}");
            }
        });
    }
}
