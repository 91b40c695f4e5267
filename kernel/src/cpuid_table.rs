//! The kernel's answers to CPUID, where that leaves the guest: the processor's own, masked by the
//! rules of a task.

use crate::arch::cpuid;
use core::arch::x86_64::CpuidResult;
use heapless::Vec;
use lucos_abi::cpuid::{CpuidRule, MAX_CPUID_RULES, guest_answer};
use spin::Once;

static RULES: Once<Vec<CpuidRule, MAX_CPUID_RULES>> = Once::new();

/// Sets the rules; `None` when they are set already.
pub fn set(rules: Vec<CpuidRule, MAX_CPUID_RULES>) -> Option<()> {
    (!RULES.is_completed()).then_some(())?;
    RULES.call_once(|| rules);
    Some(())
}

/// EAX, EBX, ECX and EDX for a guest with this CR4.
pub fn answer(leaf: u32, subleaf: u32, cr4: u64) -> [u32; 4] {
    let rules = RULES.get().map_or(&[][..], Vec::as_slice);
    let CpuidResult { eax, ebx, ecx, edx } = cpuid::read(leaf, subleaf);
    guest_answer(rules, [leaf, subleaf], cr4, [eax, ebx, ecx, edx])
}
