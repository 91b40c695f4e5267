//! What the guest's CPUID says, on processors on which CPUID leaves the guest.

use serde::{Deserialize, Serialize};

/// Most rules.
pub const MAX_CPUID_RULES: usize = 16;

/// One rule for CPUID: of the processor's own answer for leaves `first..=last` the bits of `and`
/// stay. `and` = 0 hides a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidRule {
    /// First leaf.
    pub first: u32,
    /// Last leaf.
    pub last: u32,
    /// Masks for EAX, EBX, ECX, EDX.
    pub and: [u32; 4],
}

/// What a guest with this CR4 is told of a leaf. `answer` is the processor's own: EAX, EBX, ECX and
/// EDX.
pub fn guest_answer(rules: &[CpuidRule], leaf: u32, cr4: u64, mut answer: [u32; 4]) -> [u32; 4] {
    // Two bits repeat bits of CR4 (OSXSAVE and OSPKE), and there CR4 is LUCOS's.
    let repeated = match leaf {
        1 => Some((27, 18)),
        7 => Some((4, 22)),
        _ => None,
    };
    if let Some((bit, from)) = repeated {
        let [_, _, ecx, _] = &mut answer;
        *ecx = *ecx & !(1 << bit) | ((cr4 >> from & 1) as u32) << bit;
    }
    for rule in rules.iter().filter(|rule| (rule.first..=rule.last).contains(&leaf)) {
        for (value, and) in answer.iter_mut().zip(rule.and) {
            *value &= and;
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::{CpuidRule, guest_answer};

    #[test]
    fn bits_that_repeat_cr4_are_the_guests() {
        let osxsave = |cr4, own| guest_answer(&[], 1, cr4, [own; 4])[2] >> 27 & 1;
        let ospke = |cr4, own| guest_answer(&[], 7, cr4, [own; 4])[2] >> 4 & 1;
        for own in [0, u32::MAX] {
            assert_eq!((osxsave(0, own), osxsave(1 << 18, own)), (0, 1));
            assert_eq!((ospke(0, own), ospke(1 << 22, own)), (0, 1));
        }
        assert_eq!(guest_answer(&[], 8, 0, [u32::MAX; 4]), [u32::MAX; 4]);
    }

    #[test]
    fn every_rule_for_a_leaf_takes_bits_away() {
        let rules = [
            CpuidRule { first: 5, last: 7, and: [!1, !2, !4, !8] },
            CpuidRule { first: 6, last: 6, and: [!16; 4] },
        ];
        assert_eq!(guest_answer(&rules, 4, 0, [!0; 4]), [!0; 4]);
        assert_eq!(guest_answer(&rules, 5, 0, [!0; 4]), [!1, !2, !4, !8]);
        assert_eq!(guest_answer(&rules, 6, 0, [!0; 4]), [!17, !18, !20, !24]);
        assert_eq!(guest_answer(&rules, 8, 0, [!0; 4]), [!0; 4]);
    }
}
