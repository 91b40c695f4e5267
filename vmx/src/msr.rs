//! Model-specific registers whose accesses leave the guest.
//!
//! Of the extension the guest sees what a processor without it would show. For all others the kernel
//! says what may be read and written, and a refusal is the fault that a missing register raises.

use lucos_abi::registers::{EFER_LMA, EFER_LME, Registers};
use lucos_guest_interface::detection;
use lucos_system_info::SystemInfo;

use crate::instruction::behind;
use crate::interface;
use crate::outcome::{Exit, Facts, Outcome};
use crate::platform::Platform;

/// Feature control of VT-x.
const FEATURE_CONTROL: u32 = 0x3a;
/// Long mode, no-execute, system calls.
const EFER: u32 = 0xc000_0080;
/// AMD-V is off (bit 4), and that is locked (bit 3).
const VM_CR: u32 = 0xc001_0114;
const VM_CR_OFF_AND_LOCKED: u64 = 1 << 4 | 1 << 3;
/// Where the processor keeps the host's state. Linux clears it when it goes down, also where AMD-V is
/// off; nothing else may be written.
const VM_HSAVE_PA: u32 = 0xc001_0117;
/// VT-x is locked, and off.
const FEATURE_CONTROL_LOCKED: u64 = 1;

const CR0_PAGING: u64 = 1 << 31;

/// The guest takes a general protection fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Handles RDMSR.
pub fn handle_read(platform: &mut impl Platform, facts: &Facts<'_>, exit: &Exit) -> Outcome {
    let number = exit.registers.rcx as u32;
    let Some(value) =
        own(number, &exit.registers, facts.info).or_else(|| platform.read_msr(number).ok())
    else {
        return Outcome::GENERAL_PROTECTION;
    };
    let Some(mut registers) = behind(platform, exit) else {
        return Outcome::GENERAL_PROTECTION;
    };
    registers.rax = value & 0xffff_ffff;
    registers.rdx = value >> 32;
    Outcome::Resume(registers)
}

/// Handles WRMSR. The kernel knows what the guest may write.
pub fn handle_write(platform: &mut impl Platform, exit: &Exit) -> Outcome {
    let registers = &exit.registers;
    let number = registers.rcx as u32;
    let value = registers.rdx << 32 | registers.rax & 0xffff_ffff;
    let value = match number {
        EFER => efer(value, registers),
        _ => Ok(value),
    };
    let Some((value, behind)) = value.ok().zip(behind(platform, exit)) else {
        return Outcome::GENERAL_PROTECTION;
    };
    let done = match (number, value) {
        (VM_HSAVE_PA, 0) => Ok(()),
        _ => platform.write_msr(number, value),
    };
    match done {
        Ok(()) => Outcome::Resume(behind),
        Err(_) => Outcome::GENERAL_PROTECTION,
    }
}

/// The value of a register that the guest does not see as the machine has it.
fn own(number: u32, registers: &Registers, info: &SystemInfo) -> Option<u64> {
    match number {
        detection::REGISTER => Some(interface::register(info)),
        EFER => Some(registers.efer),
        VM_CR => Some(VM_CR_OFF_AND_LOCKED),
        VM_HSAVE_PA => Some(0),
        FEATURE_CONTROL => Some(FEATURE_CONTROL_LOCKED),
        _ => None,
    }
}

/// What EFER becomes when the guest writes `value`. Which bits there are the kernel knows.
///
/// # Errors
/// Long mode cannot be chosen now.
fn efer(value: u64, registers: &Registers) -> Result<u64, Fault> {
    let changed = value ^ registers.efer;
    // Long mode is chosen while paging is off (APM vol. 2, 14.6.1).
    if changed & EFER_LME != 0 && registers.cr0 & CR0_PAGING != 0 {
        return Err(Fault);
    }
    // Whether long mode is active is for the processor to say.
    Ok(value & !EFER_LMA | registers.efer & EFER_LMA)
}

#[cfg(test)]
mod tests {
    use super::{EFER_LMA, EFER_LME, Fault, efer, handle_read, handle_write};
    use crate::fake::{self, Fake};
    use crate::outcome::{Exit, Outcome};
    use lucos_abi::call::CallStatus;
    use lucos_abi::object::ExitReason;
    use lucos_abi::registers::{EFER_NXE, Registers};
    use lucos_service::client::Failure;

    const EFER_SCE: u64 = 1;

    fn exit(number: u64, value: u64) -> Exit {
        let mut registers = fake::kernel_registers();
        registers.rcx = number | 0xffff_ffff_0000_0000;
        registers.rax = value & 0xffff_ffff | 0xdead_0000_0000;
        registers.rdx = value >> 32 | 0xdead_0000_0000;
        Exit { reason: ExitReason::WriteMsr, instruction_length: 2, registers }
    }

    fn read(platform: &mut Fake, number: u64) -> Option<u64> {
        let info = fake::info();
        match handle_read(platform, &fake::facts(&info), &exit(number, 0)) {
            Outcome::Resume(after) => {
                assert_eq!(after.rip, exit(0, 0).registers.rip + 2);
                assert!(after.rax >> 32 == 0 && after.rdx >> 32 == 0);
                Some(after.rdx << 32 | after.rax)
            }
            outcome => {
                assert_eq!(outcome, Outcome::GENERAL_PROTECTION);
                None
            }
        }
    }

    fn write(platform: &mut Fake, number: u64, value: u64) -> Outcome {
        handle_write(platform, &exit(number, value))
    }

    #[test]
    fn the_extension_looks_switched_off_for_good() {
        let mut platform = Fake::new();
        assert_eq!(read(&mut platform, 0xc001_0114), Some(0x18));
        assert_eq!(read(&mut platform, 0x3a), Some(1));
        for number in [0xc001_0118, 0x480, 0x1234_5678] {
            assert_eq!(read(&mut platform, number), None, "{number:#x}");
        }
        assert_eq!(read(&mut platform, 0xc001_0117), Some(0));
        assert!(matches!(write(&mut platform, 0xc001_0117, 0), Outcome::Resume(_)));
        assert!(platform.written.is_empty());
        platform.refuses = Some(Failure::Kernel(CallStatus::Refused));
        assert_eq!(write(&mut platform, 0xc001_0117, 0x1000), Outcome::GENERAL_PROTECTION);
    }

    #[test]
    fn a_register_of_its_own_names_lucos() {
        let mut platform = Fake::new();
        assert_eq!(read(&mut platform, 0x4000_004c), Some(0x4f43_554c_001f_0003));
        for number in [0x4000_0000, 0x4000_004b, 0x4000_004d] {
            assert_eq!(read(&mut platform, number), None, "{number:#x}");
        }
    }

    #[test]
    fn machine_check_registers_are_the_machines() {
        let mut platform = Fake::new();
        platform.registers.insert(0xc000_2001, 0xb400_0000_0003_0001);
        assert_eq!(read(&mut platform, 0xc000_2001), Some(0xb400_0000_0003_0001));
        assert!(matches!(write(&mut platform, 0xc000_2001, 7 << 40), Outcome::Resume(_)));
        assert_eq!(platform.written, [(0xc000_2001, 7 << 40)]);
    }

    #[test]
    fn efer_keeps_what_the_processor_decides() {
        let registers =
            Registers { efer: EFER_LME | EFER_LMA, cr0: 1 << 31 | 1, ..Registers::default() };
        let efer = |value| efer(value, &registers);
        assert_eq!(
            efer(EFER_LME | EFER_SCE | EFER_NXE),
            Ok(EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE)
        );
        assert_eq!(efer(EFER_SCE), Err(Fault), "long mode off while paging");
    }

    #[test]
    fn long_mode_can_be_chosen_while_paging_is_off() {
        assert_eq!(efer(EFER_LME | EFER_LMA, &Registers::default()), Ok(EFER_LME));
    }

    #[test]
    fn only_the_lower_halves_of_registers_count() {
        let mut platform = Fake::new();
        let value = EFER_LME | EFER_SCE;
        let Outcome::Resume(after) = write(&mut platform, 0xc000_0080, value) else {
            panic!("not resumed");
        };
        assert_eq!(after.rip, exit(0, 0).registers.rip + 2);
        assert_eq!(platform.written, [(0xc000_0080, value | EFER_LMA)]);
    }

    #[test]
    fn what_the_kernel_refuses_is_a_fault() {
        let mut platform = Fake::new();
        platform.refuses = Some(Failure::Kernel(CallStatus::Refused));
        for number in [0x1b, 0xc000_0080, 0xc001_0010] {
            assert_eq!(write(&mut platform, number, EFER_LME), Outcome::GENERAL_PROTECTION);
        }
        platform.refuses = None;
        assert!(matches!(write(&mut platform, 0x1b, 0xfee0_0d00), Outcome::Resume(_)));
        assert_eq!(platform.written, [(0x1b, 0xfee0_0d00)]);
    }
}
