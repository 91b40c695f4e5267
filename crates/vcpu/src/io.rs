//! The map of I/O ports that stop the guest (APM 15.10.1).

use core::sync::atomic::{AtomicU8, Ordering};

/// The I/O permission map: a bit for each port, read by the processors at any time. Behind the last
/// port lies room for the bits of accesses that pass it.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct IoMap([AtomicU8; 3 * 4096]);

impl IoMap {
    /// Makes every access that touches `port` stop the guest.
    pub fn intercept(&self, port: u16) {
        if let Some(byte) = self.0.get(usize::from(port) / 8) {
            byte.fetch_or(1 << (port % 8), Ordering::SeqCst);
        }
    }

    /// An access of `size` bytes at `port` stops the guest.
    pub fn stops(&self, port: u16, size: u8) -> bool {
        (0..u16::from(size)).any(|byte| {
            let port = port.wrapping_add(byte);
            let bits =
                self.0.get(usize::from(port) / 8).map_or(0, |bits| bits.load(Ordering::SeqCst));
            bits >> (port % 8) & 1 != 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::IoMap;
    use core::sync::atomic::{AtomicU8, Ordering};

    #[test]
    fn ports_have_the_bits_of_the_manual() {
        let map = IoMap([const { AtomicU8::new(0) }; 3 * 4096]);
        map.intercept(0x605);
        map.intercept(0xffff);
        assert_eq!(map.0[0xc0].load(Ordering::SeqCst), 1 << 5);
        assert_eq!(map.0[0x1fff].load(Ordering::SeqCst), 1 << 7);
        let set: u32 = map.0.iter().map(|byte| byte.load(Ordering::SeqCst).count_ones()).sum();
        assert_eq!(set, 2);
        for (port, size, stops) in [
            (0x605, 1, true),
            (0x604, 1, false),
            (0x604, 2, true),
            (0x602, 4, true),
            (0x606, 2, false),
        ] {
            assert_eq!(map.stops(port, size), stops, "{port:#x} {size}");
        }
        assert_eq!(size_of::<IoMap>(), 3 * 4096);
    }
}
