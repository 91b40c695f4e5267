//! The map of model-specific registers that stop the guest (APM 15.11).

use core::ops::RangeInclusive;

/// The MSR permission map: two bits for each register, read and write. Lies page aligned in memory
/// that the processor reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct MsrMap([u8; 8192]);

/// The register has no bits in the map: every access to it stops the guest anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideMap(pub u32);

/// Registers of a range, and the byte of the map in which their bits begin.
const RANGES: [(RangeInclusive<u32>, usize); 3] =
    [(0..=0x1fff, 0), (0xc000_0000..=0xc000_1fff, 0x800), (0xc001_0000..=0xc001_1fff, 0x1000)];

impl MsrMap {
    /// A map that lets every access through.
    pub const fn new() -> Self {
        Self([0; 8192])
    }

    /// The bytes that the processor reads.
    pub const fn bytes(&self) -> &[u8; 8192] {
        &self.0
    }

    /// Says whether reads and writes of `msr` stop the guest.
    ///
    /// # Errors
    /// [`OutsideMap`] for a register that the map does not cover; the map is unchanged.
    pub fn set(&mut self, msr: u32, read: bool, write: bool) -> Result<(), OutsideMap> {
        let (range, start) =
            RANGES.iter().find(|(range, _)| range.contains(&msr)).ok_or(OutsideMap(msr))?;
        let number = (msr - range.start()) as usize;
        let byte = self.0.get_mut(start + number / 4).ok_or(OutsideMap(msr))?;
        let shift = number % 4 * 2;
        *byte = *byte & !(3 << shift) | (u8::from(read) | u8::from(write) << 1) << shift;
        Ok(())
    }
}

impl Default for MsrMap {
    fn default() -> Self {
        Self::new()
    }
}
