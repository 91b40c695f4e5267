//! The map of model-specific registers that stop the guest (SDM 26.6.9).

use core::ops::RangeInclusive;

/// The MSR bitmap: a bit for reads of each register of two ranges, then one for writes. Lies page
/// aligned in memory that the processor reads. All other registers stop the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct MsrMap(pub(crate) [u8; 4096]);

/// Registers of which reads and writes stop the guest: those of VT-x, and those of processor trace,
/// which writes to physical memory of its choice.
const KEPT: [RangeInclusive<u32>; 3] = [0x3a..=0x3a, 0x480..=0x493, 0x560..=0x572];
/// Registers of which writes stop it: the place of the local APIC, microcode, the SMM monitor, and the
/// one that can switch no-execute pages off.
const READABLE: [u32; 4] = [0x1b, 0x79, 0x9b, 0x1a0];

/// Where the bits of writes begin.
const WRITES: usize = 0x800;

impl MsrMap {
    /// Makes the map what a guest gets.
    pub fn configure(&mut self) {
        for number in KEPT.into_iter().flatten() {
            self.set(number, 0);
            self.set(number, WRITES);
        }
        for number in READABLE {
            self.set(number, WRITES);
        }
    }

    /// All of them lie in the lower range, 0 to 0x1fff.
    fn set(&mut self, number: u32, part: usize) {
        if let Some(byte) = self.0.get_mut(part + number as usize / 8) {
            *byte |= 1 << (number % 8);
        }
    }
}
