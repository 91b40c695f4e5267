//! What CPUID hides, on processors on which it leaves the guest: the kernel answers by these rules.

use heapless::Vec;
use lucos_abi::cpuid::{CpuidRule, MAX_CPUID_RULES};

/// Nothing stays.
const HIDE: [u32; 4] = [0; 4];

const VMX: u32 = 1 << 5;
const SMX: u32 = 1 << 6;
const PROCESSOR_TRACE: u32 = 1 << 25;
const SVM: u32 = 1 << 2;
const SKINIT: u32 = 1 << 12;

/// The rules.
pub fn rules() -> Vec<CpuidRule, MAX_CPUID_RULES> {
    let rule = |first, last, and| CpuidRule { first, last, and };
    let clear_ecx = |leaf, bits: u32| rule(leaf, leaf, [u32::MAX, u32::MAX, !bits, u32::MAX]);
    let list = [
        clear_ecx(1, VMX | SMX),
        // Processor trace, which writes to physical memory of its choice.
        rule(7, 7, [u32::MAX, !PROCESSOR_TRACE, u32::MAX, u32::MAX]),
        rule(0x14, 0x14, HIDE),
        // Whatever another hypervisor below says of itself.
        rule(0x4000_0000, 0x4000_ffff, HIDE),
        // The virtualization extension itself.
        clear_ecx(0x8000_0001, SVM | SKINIT),
        rule(0x8000_000a, 0x8000_000a, HIDE),
        // Memory encryption: its bit in page tables means something else under nested paging.
        rule(0x8000_001f, 0x8000_001f, HIDE),
    ];
    list.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::rules;
    use lucos_abi::cpuid::guest_answer;

    #[test]
    fn no_leaf_has_two_rules() {
        let rules = rules();
        for (index, rule) in rules.iter().enumerate() {
            assert!(rule.first <= rule.last);
            for other in &rules[..index] {
                assert!(other.last < rule.first || rule.last < other.first);
            }
        }
    }

    #[test]
    fn extensions_and_hypervisors_below_are_hidden() {
        let rules = rules();
        let ask = |leaf| guest_answer(&rules, [leaf, 0], !0, [u32::MAX; 4]);
        assert_eq!(ask(1), [!0, !0, !(1 << 5 | 1 << 6), !0], "VMX and SMX");
        assert_eq!(ask(7), [!0, !(1 << 25), !0, !0], "processor trace");
        assert_eq!(ask(0x8000_0001), [!0, !0, !(1 << 2 | 1 << 12), !0], "SVM and SKINIT");
        for leaf in [0x4000_0000, 0x4000_0100, 0x4000_ffff, 0x8000_000a, 0x8000_001f, 0x14] {
            assert_eq!(ask(leaf), [0; 4], "{leaf:#x}");
        }
        for leaf in [0, 6, 8, 0x3fff_ffff, 0x4001_0000, 0x8000_0008, 0x8000_0021] {
            assert_eq!(ask(leaf), [!0; 4], "{leaf:#x}");
        }
    }
}
