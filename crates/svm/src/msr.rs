//! The map of model-specific registers that stop the guest (APM 15.11).

use core::ops::RangeInclusive;

/// The MSR permission map: two bits for each register, read and write. Lies page aligned in memory
/// that the processor reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct MsrMap(pub(crate) [u8; 8192]);

/// Registers of a range, and the byte of the map in which their bits begin.
const RANGES: [(RangeInclusive<u32>, usize); 3] =
    [(0..=0x1fff, 0), (0xc000_0000..=0xc000_1fff, 0x800), (0xc001_0000..=0xc001_1fff, AMD_BYTES)];
const AMD_BYTES: usize = 0x1000;
/// The bits of writes of four registers.
const WRITES: u8 = 0xaa;

/// Registers of the guest's whose reads and writes stop it: EFER, VM_CR, VM_HSAVE_PA, SVM_KEY.
const KEPT: [u32; 4] = [0xc000_0080, 0xc001_0114, 0xc001_0117, 0xc001_0118];

/// Where the local APIC is. Only writes stop the guest.
const APIC_BASE: u32 = 0x1b;

/// The registers of AMD's own range that the guest may write. Among the others are those that decide
/// where a physical address leads (SYSCFG, IORRs, TOP_MEM, TOM2, the MMIO configuration base, SMM's
/// and SNP's), that load microcode, change what CPUID says, and trap I/O to the firmware. In the two
/// ranges below there are none of that kind but the APIC base: there the guest may write all.
const WRITABLE: [RangeInclusive<u32>; 9] = [
    // Performance counters: the old ones, of the core, of the L3 cache, of the data fabric.
    0xc001_0000..=0xc001_0007,
    0xc001_0200..=0xc001_020b,
    0xc001_0230..=0xc001_023b,
    0xc001_0240..=0xc001_024f,
    // Performance states: the control registers.
    0xc001_0061..=0xc001_0062,
    0xc001_02b0..=0xc001_02b4,
    // Masks of breakpoints.
    0xc001_1019..=0xc001_101b,
    // How core and caches work (LS_CFG and its neighbours); sampling.
    0xc001_1020..=0xc001_103f,
    0xc001_10e0..=0xc001_10ef,
];

impl MsrMap {
    /// Makes the map what a guest gets.
    pub fn configure(&mut self) {
        for byte in self.0.iter_mut().skip(AMD_BYTES).take(0x800) {
            *byte = WRITES;
        }
        // All of them lie in the map's ranges.
        for msr in WRITABLE.into_iter().flatten() {
            let _ = self.set(msr, false, false);
        }
        for msr in KEPT {
            let _ = self.set(msr, true, true);
        }
        let _ = self.set(APIC_BASE, false, true);
    }

    /// Says whether reads and writes of `msr` stop the guest; `None` for a register that the map does
    /// not cover, every access to which stops it.
    pub(crate) fn set(&mut self, msr: u32, read: bool, write: bool) -> Option<()> {
        let (range, start) = RANGES.iter().find(|(range, _)| range.contains(&msr))?;
        let number = (msr - range.start()) as usize;
        let byte = self.0.get_mut(start + number / 4)?;
        let shift = number % 4 * 2;
        *byte = *byte & !(3 << shift) | (u8::from(read) | u8::from(write) << 1) << shift;
        Some(())
    }
}
