//! The kernel's answers to CPUID: the processor's own, masked by the rules of a task.
//!
//! CPUID is the one instruction of ordinary programs that leaves the guest, so the masks of a leaf
//! are found without a search. Leaves that have no place here are left to the task.

use crate::arch::cpuid;
use core::arch::x86_64::CpuidResult;
use lucos_abi::object::CpuidRule;
use spin::Once;

/// Leaves in each of the two ranges, from 0 and from 0x8000_0000 on.
const LEAVES: u32 = 64;

/// Masks for EAX, EBX, ECX and EDX of each leaf.
type Table = [[u32; 4]; 2 * LEAVES as usize];

static TABLE: Once<Table> = Once::new();

/// Sets the rules; `None` when they are set already, or one adds bits to a leaf of the table.
pub fn set(rules: &[CpuidRule]) -> Option<()> {
    let mut table: Table = [[u32::MAX; 4]; _];
    for rule in rules {
        for leaf in (0..LEAVES).chain((0..LEAVES).map(|leaf| leaf | 1 << 31)) {
            if !(rule.first..=rule.last).contains(&leaf) {
                continue;
            }
            if rule.or != [0; 4] {
                return None;
            }
            for (mask, and) in table.get_mut(place(leaf)?)?.iter_mut().zip(rule.and) {
                *mask &= and;
            }
        }
    }
    if TABLE.is_completed() {
        return None;
    }
    TABLE.call_once(|| table);
    Some(())
}

#[inline(always)]
fn place(leaf: u32) -> Option<usize> {
    let low = leaf % LEAVES;
    (leaf & !(1 << 31) == low).then_some((low + (leaf >> 31) * LEAVES) as usize)
}

/// The answer for a guest with this CR4; `None` for a leaf without a place.
#[inline(always)]
pub fn answer(leaf: u32, subleaf: u32, cr4: u64) -> Option<[u32; 4]> {
    let masks = TABLE.get()?.get(place(leaf)?)?;
    let CpuidResult { eax, ebx, mut ecx, edx } = cpuid::read(leaf, subleaf);
    // Two bits repeat bits of CR4 (OSXSAVE and OSPKE), and here CR4 is LUCOS's.
    match leaf {
        1 => ecx = ecx & !(1 << 27) | (cr4 as u32 >> 18 & 1) << 27,
        7 => ecx = ecx & !(1 << 4) | (cr4 as u32 >> 22 & 1) << 4,
        _ => {}
    }
    // Not a loop: this is executed by programs all the time.
    let [a, b, c, d] = *masks;
    Some([eax & a, ebx & b, ecx & c, edx & d])
}
