//! Where the guest's parts go.

use core::fmt;

use heapless::Vec;
use lucos_system_info::{MAX_MODULES, MemoryKind, MemoryRange};

use crate::PAGE;
use crate::kernel::KernelImage;
use crate::parameters::HANDOFF_LENGTH;

/// Everything is placed below this address: the start page tables map no more.
pub const PLACE_LIMIT: u64 = 1 << 32;
/// Nothing is placed in the first MiB: Linux starts its other processors there.
const LOWEST: u64 = 1 << 20;
/// A kernel that does not get its preferred address goes here or above, clear of old DMA memory.
const LOWEST_KERNEL: u64 = 16 << 20;
/// Kernels are copied to a multiple of this at least.
const KERNEL_ALIGNMENT: u64 = 2 << 20;

/// Most ranges that are kept free: the modules, LUCOS's two areas and what is placed.
const MAX_TAKEN: usize = MAX_MODULES + 2 + 3;

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kernel with the memory that it needs to unpack itself.
    Kernel,
    /// The initial RAM disk.
    Initrd,
    /// Boot parameters and command line.
    Parameters,
}

/// There is no room for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// For which.
    pub part: Part,
    /// Bytes that it needs in one piece.
    pub length: u64,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Kernel => "the kernel",
            Part::Initrd => "the initial RAM disk",
            Part::Parameters => "the boot parameters",
        };
        let kib = self.length.div_ceil(1024);
        write!(to, "no free {kib} KiB below 4 GiB for {part}")
    }
}

/// Where the guest's parts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Load address of the kernel's 64-bit code.
    pub kernel: u64,
    /// Where the initial RAM disk is when the guest starts, when there is one.
    pub initrd: Option<Initrd>,
    /// [`HANDOFF_LENGTH`] bytes for boot parameters and command line.
    pub handoff: u64,
}

/// The initial RAM disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initrd {
    /// Its address, page aligned.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Where it has to be copied from, unless it is there already.
    pub copy_from: Option<u64>,
}

/// Places everything in RAM. `keep` are ranges that hold something still needed: the bundle's
/// parts, LUCOS's region and the NVS area. `initrd` is the bundle's member: start and length.
///
/// # Errors
/// [`NoRoom`]
pub fn place(
    kernel: &KernelImage,
    initrd: Option<(u64, u64)>,
    memory: &[MemoryRange],
    keep: &[MemoryRange],
) -> Result<Placement, NoRoom> {
    let mut space = FreeSpace::new(memory, keep);
    let no_room = |part, length| NoRoom { part, length };

    let length = kernel.init_size;
    let kernel_start = kernel_place(kernel, &space).ok_or(no_room(Part::Kernel, length))?;
    space.take(kernel_start, length);

    let handoff = space
        .highest(HANDOFF_LENGTH, PAGE, PLACE_LIMIT)
        .ok_or(no_room(Part::Parameters, HANDOFF_LENGTH))?;
    space.take(handoff, HANDOFF_LENGTH);

    let initrd = match initrd {
        None | Some((_, 0)) => None,
        Some((from, length)) => {
            let limit = kernel.initrd_last.saturating_add(1).min(PLACE_LIMIT);
            Some(initrd_place(from, length, limit, &space).ok_or(no_room(Part::Initrd, length))?)
        }
    };
    Ok(Placement { kernel: kernel_start, initrd, handoff })
}

fn kernel_place(kernel: &KernelImage, space: &FreeSpace<'_>) -> Option<u64> {
    let preferred = kernel.preferred_address;
    if preferred >= LOWEST && space.is_free(preferred, kernel.init_size) {
        return Some(preferred);
    }
    if !kernel.relocatable {
        return None;
    }
    let alignment = kernel.alignment.max(KERNEL_ALIGNMENT);
    let place = |from| space.lowest(kernel.init_size, alignment, from);
    place(LOWEST_KERNEL).or_else(|| place(LOWEST))
}

/// An initial RAM disk stays where it is when it starts on a page: Linux frees it page by page.
fn initrd_place(from: u64, length: u64, limit: u64, space: &FreeSpace<'_>) -> Option<Initrd> {
    let end = from.checked_add(length)?;
    if from.is_multiple_of(PAGE) && end <= limit {
        return Some(Initrd { start: from, length, copy_from: None });
    }
    let start = space.highest(length, PAGE, limit)?;
    Some(Initrd { start, length, copy_from: Some(from) })
}

/// RAM below [`PLACE_LIMIT`] that nobody uses.
struct FreeSpace<'a> {
    memory: &'a [MemoryRange],
    taken: Vec<(u64, u64), MAX_TAKEN>,
    /// More ranges were to be kept than can be noted: nothing is free then.
    overflow: bool,
}

impl<'a> FreeSpace<'a> {
    fn new(memory: &'a [MemoryRange], keep: &[MemoryRange]) -> Self {
        let mut space = Self { memory, taken: Vec::new(), overflow: false };
        for range in keep {
            space.take(range.start, range.length);
        }
        space
    }

    fn take(&mut self, start: u64, length: u64) {
        let end = start.saturating_add(length);
        self.overflow |= self.taken.push((start, end)).is_err();
    }

    fn ram(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> {
        self.memory
            .iter()
            .filter(|range| range.kind == MemoryKind::Ram && !self.overflow)
            .map(|range| (range.start, range.end().min(PLACE_LIMIT)))
    }

    /// A range in use that overlaps `start..end`.
    fn conflict(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        self.taken.iter().copied().find(|&(taken, taken_end)| taken < end && start < taken_end)
    }

    fn is_free(&self, start: u64, length: u64) -> bool {
        let Some(end) = start.checked_add(length) else {
            return false;
        };
        self.ram().any(|(from, to)| from <= start && end <= to)
            && self.conflict(start, end).is_none()
    }

    fn lowest(&self, length: u64, alignment: u64, from: u64) -> Option<u64> {
        self.ram().find_map(|(start, end)| {
            let mut at = start.max(from).checked_next_multiple_of(alignment)?;
            // Each turn passes one range in use, or ends.
            loop {
                let behind = at.checked_add(length).filter(|&behind| behind <= end)?;
                match self.conflict(at, behind) {
                    None => return Some(at),
                    Some((_, taken)) => at = taken.checked_next_multiple_of(alignment)?,
                }
            }
        })
    }

    fn highest(&self, length: u64, alignment: u64, limit: u64) -> Option<u64> {
        self.ram().rev().find_map(|(start, end)| {
            let start = start.max(LOWEST);
            let mut top = end.min(limit);
            loop {
                let at = top.checked_sub(length)? / alignment * alignment;
                if at < start {
                    return None;
                }
                match self.conflict(at, at + length) {
                    None => return Some(at),
                    Some((taken, _)) => top = taken,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Initrd, NoRoom, PLACE_LIMIT, Part, place};
    use crate::kernel::KernelImage;
    use crate::kernel::tests::{LENGTH, image};
    use crate::parameters::HANDOFF_LENGTH;
    use lucos_system_info::{MemoryKind, MemoryRange};
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn ram(start: u64, end: u64) -> MemoryRange {
        MemoryRange { start, length: end - start, kind: MemoryKind::Ram }
    }

    fn kernel() -> KernelImage {
        KernelImage::parse(&image(), LENGTH).unwrap()
    }

    #[test]
    fn an_empty_machine_gives_every_part_its_wish() {
        let memory = [ram(0, 0x9f000), ram(MIB, 512 * MIB)];
        let placement = place(&kernel(), Some((400 * MIB + 512, 1000)), &memory, &[]).unwrap();
        assert_eq!(placement.kernel, 16 * MIB);
        assert_eq!(placement.handoff, 512 * MIB - HANDOFF_LENGTH);
        assert_eq!(
            placement.initrd,
            Some(Initrd {
                start: placement.handoff - 4096,
                length: 1000,
                copy_from: Some(400 * MIB + 512)
            })
        );
    }

    #[test]
    fn an_aligned_initrd_stays_and_an_empty_one_is_none() {
        let memory = [ram(MIB, 512 * MIB)];
        let stays = place(&kernel(), Some((400 * MIB, 1000)), &memory, &[]).unwrap();
        assert_eq!(stays.initrd.unwrap().copy_from, None);
        let none = place(&kernel(), Some((400 * MIB, 0)), &memory, &[]).unwrap();
        assert_eq!(none.initrd, None);
    }

    #[test]
    fn an_initrd_above_the_kernels_limit_moves_below_it() {
        let memory = [ram(MIB, 3072 * MIB)];
        let mut kernel = kernel();
        kernel.initrd_last = 0x7fff_ffff;
        let placement = place(&kernel, Some((2560 * MIB, 4096)), &memory, &[]).unwrap();
        assert_eq!(placement.initrd.unwrap().start, 0x8000_0000 - 4096);
    }

    #[test]
    fn a_kernel_goes_around_what_is_in_use() {
        let memory = [ram(MIB, 512 * MIB)];
        let keep = [ram(17 * MIB, 19 * MIB)];
        assert_eq!(place(&kernel(), None, &memory, &keep).unwrap().kernel, 20 * MIB);
        let small = [ram(MIB, 8 * MIB)];
        assert_eq!(place(&kernel(), None, &small, &[]).unwrap().kernel, 2 * MIB);
    }

    #[test]
    fn a_fixed_kernel_has_one_place() {
        let mut kernel = kernel();
        kernel.relocatable = false;
        let memory = [ram(MIB, 512 * MIB)];
        let keep = [ram(17 * MIB, 18 * MIB)];
        assert_eq!(
            place(&kernel, None, &memory, &keep),
            Err(NoRoom { part: Part::Kernel, length: kernel.init_size })
        );
    }

    #[test]
    fn an_initrd_that_fits_nowhere_is_named() {
        let memory = [ram(MIB, 64 * MIB), ram(PLACE_LIMIT, PLACE_LIMIT + 512 * MIB)];
        let initrd = Some((PLACE_LIMIT, 100 * MIB));
        let error = place(&kernel(), initrd, &memory, &[]).unwrap_err();
        assert_eq!(error.part, Part::Initrd);
        assert_eq!(error.to_string(), "no free 102400 KiB below 4 GiB for the initial RAM disk");
    }

    fn range() -> impl Strategy<Value = MemoryRange> {
        (0..600 * MIB, 1..64 * MIB).prop_map(|(start, length)| ram(start, start + length))
    }

    proptest! {
        #[test]
        fn parts_lie_in_ram_and_overlap_nothing(
            keep in prop::collection::vec(range(), 0..10),
            hole in 1_u64..500,
            initrd in range(),
        ) {
            let memory = [ram(MIB, (hole + 1) * MIB), ram((hole + 40) * MIB, 640 * MIB)];
            let mut used = keep.clone();
            used.push(initrd);
            let Ok(placement) = place(&kernel(), Some((initrd.start, initrd.length)), &memory, &used)
            else {
                return Ok(());
            };
            let mut parts = vec![
                (placement.kernel, kernel().init_size),
                (placement.handoff, HANDOFF_LENGTH),
            ];
            if let Some(Initrd { start, length, copy_from: Some(_) }) = placement.initrd {
                prop_assert_eq!(start % 4096, 0);
                parts.push((start, length));
            }
            prop_assert_eq!(placement.kernel % (2 * MIB), 0);
            for (index, &(start, length)) in parts.iter().enumerate() {
                let end = start + length;
                prop_assert!(memory.iter().any(|ram| ram.start <= start && end <= ram.end()));
                let others = parts[..index].iter().map(|&(start, length)| (start, start + length));
                let kept = used.iter().map(|range| (range.start, range.end()));
                for (other, other_end) in others.chain(kept) {
                    prop_assert!(end <= other || other_end <= start);
                }
            }
        }
    }
}
