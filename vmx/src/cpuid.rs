//! CPUID.
//!
//! The kernel answers CPUID from the rules that are made here. An exit comes only when it could not
//! see the instruction's length at once; then the answer is made here, by the same rules.

use heapless::Vec;
use lucos_abi::object::CpuidRule;
use lucos_guest_interface::INTERFACE_VERSION;
use lucos_guest_interface::cpuid::{
    FEATURE_FUNCTIONS, FEATURE_VMMCALL, LEAF_HIGHEST, LEAF_INTERFACE, LEAF_SIGNATURE,
    SIGNATURE_EBX, SIGNATURE_ECX, SIGNATURE_EDX,
};
use lucos_linux_boot::entry::CallInstruction;

use crate::exit::{Exit, Machine, Outcome};
use crate::instruction::behind;
use crate::platform::Platform;

/// Most rules that the kernel takes.
const MAX_RULES: usize = 32;
/// Nothing stays.
const HIDE: [u32; 4] = [0; 4];

const VMX: u32 = 1 << 5;
const SVM: u32 = 1 << 2;
const SKINIT: u32 = 1 << 12;
const INVLPGB: u32 = 1 << 3;
const AUTOMATIC_IBRS: u32 = 1 << 8;

/// The instruction with which this machine's guest calls LUCOS.
pub fn call_instruction(platform: &impl Platform) -> CallInstruction {
    let [highest, ..] = platform.cpuid(0x8000_0000, 0);
    let [_, _, ecx, _] = platform.cpuid(0x8000_0001, 0);
    match highest >= 0x8000_0001 && ecx & SVM != 0 {
        true => CallInstruction::Vmmcall,
        false => CallInstruction::Vmcall,
    }
}

/// The features of LUCOS, as [`LEAF_INTERFACE`] and the first hypercall tell them.
pub fn features(platform: &impl Platform) -> u32 {
    let instruction = match call_instruction(platform) {
        CallInstruction::Vmmcall => FEATURE_VMMCALL,
        CallInstruction::Vmcall => 0,
    };
    FEATURE_FUNCTIONS | instruction
}

/// The rules.
pub fn rules(platform: &impl Platform) -> Vec<CpuidRule, MAX_RULES> {
    let rule = |first, last, and, or| CpuidRule { first, last, and, or };
    let one = |leaf, and, or| rule(leaf, leaf, and, or);
    let clear = |leaf, [eax, ecx]: [u32; 2]| one(leaf, [!eax, u32::MAX, !ecx, u32::MAX], HIDE);
    let signature = [LEAF_HIGHEST, SIGNATURE_EBX, SIGNATURE_ECX, SIGNATURE_EDX];
    let interface = [INTERFACE_VERSION, features(platform), 0, 0];
    let list = [
        clear(1, [0, VMX]),
        one(LEAF_SIGNATURE, HIDE, signature),
        one(LEAF_INTERFACE, HIDE, interface),
        // Whatever another hypervisor below says of itself.
        rule(LEAF_INTERFACE + 1, 0x4000_ffff, HIDE, HIDE),
        clear(0x8000_0001, [0, SVM | SKINIT]),
        // INVLPGB would flush translations of LUCOS's own address spaces.
        one(0x8000_0008, [u32::MAX, !INVLPGB, u32::MAX, u32::MAX], HIDE),
        // The virtualization extension itself.
        one(0x8000_000a, HIDE, HIDE),
        // Memory encryption: its bit in page tables means something else under nested paging.
        one(0x8000_001f, HIDE, HIDE),
        // EFER has a bit for this that LUCOS does not let the guest set.
        clear(0x8000_0021, [AUTOMATIC_IBRS, 0]),
    ];
    list.into_iter().collect()
}

/// Handles an exit.
pub fn handle(platform: &mut impl Platform, machine: &Machine<'_>, exit: &Exit) -> Outcome {
    let Some(mut registers) = behind(platform, exit) else {
        return Outcome::GENERAL_PROTECTION;
    };
    let leaf = registers.rax as u32;
    let [eax, ebx, ecx, edx] =
        answer(platform, machine.rules, leaf, registers.rcx as u32, registers.cr4);
    registers.rax = u64::from(eax);
    registers.rbx = u64::from(ebx);
    registers.rcx = u64::from(ecx);
    registers.rdx = u64::from(edx);
    Outcome::Resume(registers)
}

fn answer(
    platform: &impl Platform,
    rules: &[CpuidRule],
    leaf: u32,
    subleaf: u32,
    cr4: u64,
) -> [u32; 4] {
    let mut answer = platform.cpuid(leaf, subleaf);
    reflect_cr4(leaf, cr4, &mut answer);
    for rule in rules.iter().filter(|rule| (rule.first..=rule.last).contains(&leaf)) {
        for ((value, and), or) in answer.iter_mut().zip(rule.and).zip(rule.or) {
            *value = *value & and | or;
        }
    }
    answer
}

/// Two bits repeat bits of CR4: OSXSAVE and OSPKE. In a task they are those of LUCOS's own.
fn reflect_cr4(leaf: u32, cr4: u64, answer: &mut [u32; 4]) {
    let (bit, from) = match leaf {
        1 => (27, 18),
        7 => (4, 22),
        _ => return,
    };
    let [_, _, ecx, _] = answer;
    *ecx = *ecx & !(1 << bit) | ((cr4 >> from & 1) as u32) << bit;
}

#[cfg(test)]
mod tests {
    use super::{answer, handle, rules};
    use crate::exit::{Exit, Outcome};
    use crate::fake::{self, Fake};
    use lucos_abi::object::ExitReason;

    #[test]
    fn no_leaf_has_two_rules() {
        let rules = rules(&Fake::new());
        for (index, rule) in rules.iter().enumerate() {
            assert!(rule.first <= rule.last);
            for other in &rules[..index] {
                assert!(other.last < rule.first || rule.last < other.first);
            }
        }
    }

    #[test]
    fn the_extension_and_hypervisors_below_are_hidden_and_we_are_shown() {
        let platform = Fake::new();
        let rules = rules(&platform);
        let ask = |leaf| answer(&platform, &rules, leaf, 0, 0);
        assert_eq!(ask(1)[2] & 1 << 5, 0, "VMX");
        assert_eq!(ask(1)[2] >> 31, 1, "as the machine has it");
        assert_eq!(ask(0x8000_0001)[2] & 1 << 2, 0, "SVM");
        assert_eq!(ask(0x8000_000a), [0; 4]);
        assert_eq!(ask(0x8000_001f), [0; 4]);
        assert_eq!(ask(0x4000_0100), [0; 4]);
        assert_eq!(ask(0x4000_0002), [0; 4]);
        let name: Vec<u8> =
            ask(0x4000_0000)[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(name, b"LUCOSLUCOS\0\0");
        assert_eq!(ask(0x4000_0001), [1, 3, 0, 0]);
        assert_eq!(ask(0x8000_0008), [!0, !8, !0, !0], "INVLPGB");
        assert_eq!(ask(0x8000_0007), [!0; 4], "everything else as it is");
    }

    #[test]
    fn bits_that_repeat_cr4_are_the_guests() {
        let platform = Fake::new();
        let rules = rules(&platform);
        let osxsave = |cr4| answer(&platform, &rules, 1, 0, cr4)[2] >> 27 & 1;
        assert_eq!((osxsave(0), osxsave(1 << 18)), (0, 1));
        let ospke = |cr4| answer(&platform, &rules, 7, 0, cr4)[2] >> 4 & 1;
        assert_eq!((ospke(0), ospke(1 << 22)), (0, 1));
    }

    #[test]
    fn a_prefixed_cpuid_is_stepped_over() {
        let mut platform = Fake::new();
        platform.code = vec![0x66, 0x0f, 0xa2];
        let rules = rules(&platform);
        let info = fake::info();
        let machine = fake::machine(&info, &rules);
        let mut registers = fake::kernel_registers();
        registers.rax = 0xffff_ffff_4000_0001;
        let exit = Exit { reason: ExitReason::Cpuid, instruction_length: 0, registers };
        let Outcome::Resume(after) = handle(&mut platform, &machine, &exit) else {
            panic!("not resumed");
        };
        assert_eq!(after.rip, registers.rip + 3);
        assert_eq!([after.rax, after.rbx, after.rcx, after.rdx], [1, 3, 0, 0]);
    }
}
