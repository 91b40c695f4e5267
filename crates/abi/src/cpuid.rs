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

/// What a guest with this CR4 is told of a leaf and subleaf. `answer` is the processor's own: EAX,
/// EBX, ECX and EDX.
pub fn guest_answer(
    rules: &[CpuidRule],
    [leaf, subleaf]: [u32; 2],
    cr4: u64,
    mut answer: [u32; 4],
) -> [u32; 4] {
    // Two bits repeat bits of CR4 (OSXSAVE and OSPKE), and there CR4 is LUCOS's. Leaf 1 has no
    // subleaves.
    let repeated = match (leaf, subleaf) {
        (1, _) => Some((27, 18)),
        (7, 0) => Some((4, 22)),
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
        let ecx = |place, cr4, own| guest_answer(&[], place, cr4, [own; 4])[2];
        for own in [0, u32::MAX] {
            for subleaf in [0, 1, u32::MAX] {
                let osxsave = |cr4| ecx([1, subleaf], cr4, own) >> 27 & 1;
                assert_eq!((osxsave(0), osxsave(1 << 18)), (0, 1));
            }
            let ospke = |cr4| ecx([7, 0], cr4, own) >> 4 & 1;
            assert_eq!((ospke(0), ospke(1 << 22)), (0, 1));
            for place in [[7, 1], [7, 2], [7, u32::MAX], [8, 0]] {
                assert_eq!(
                    (ecx(place, 0, own), ecx(place, u64::MAX, own)),
                    (own, own),
                    "{place:?}"
                );
            }
        }
    }

    #[test]
    fn every_rule_for_a_leaf_takes_bits_away() {
        let rules = [
            CpuidRule { first: 5, last: 7, and: [!1, !2, !4, !8] },
            CpuidRule { first: 6, last: 6, and: [!16; 4] },
        ];
        assert_eq!(guest_answer(&rules, [4, 0], 0, [!0; 4]), [!0; 4]);
        assert_eq!(guest_answer(&rules, [5, 0], 0, [!0; 4]), [!1, !2, !4, !8]);
        assert_eq!(guest_answer(&rules, [6, 0], 0, [!0; 4]), [!17, !18, !20, !24]);
        assert_eq!(guest_answer(&rules, [8, 0], 0, [!0; 4]), [!0; 4]);
    }
}
