//! Model-specific registers that LUCOS keeps.
//!
//! All others go to the processor directly. Of these the guest sees what a processor without
//! virtualization extension would show it.

use lucos_abi::boot::SystemInfo;
use lucos_abi::registers::Registers;
use lucos_guest_interface::detection;

use crate::exit::{Exit, Machine, Outcome};
use crate::instruction::behind;
use crate::interface;
use crate::platform::Platform;

/// Feature control of VT-x.
const FEATURE_CONTROL: u32 = 0x3a;
/// Where the local APIC is.
const APIC_BASE: u32 = 0x1b;
/// Long mode, no-execute, system calls.
const EFER: u32 = 0xc000_0080;
/// AMD-V is off (bit 4), and that is locked (bit 3).
const VM_CR: u32 = 0xc001_0114;
const VM_CR_OFF_AND_LOCKED: u64 = 1 << 4 | 1 << 3;
/// VT-x is locked, and off.
const FEATURE_CONTROL_LOCKED: u64 = 1;

const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const CR0_PAGING: u64 = 1 << 31;

/// The guest takes a general protection fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// EFER gets this value.
    Efer(u64),
    /// The APIC base gets this value if LUCOS can let it.
    ApicBase(u64),
}

/// Handles RDMSR.
pub fn handle_read(platform: &mut impl Platform, machine: &Machine<'_>, exit: &Exit) -> Outcome {
    let Ok(value) = read(exit.registers.rcx as u32, &exit.registers, machine.info) else {
        return Outcome::GENERAL_PROTECTION;
    };
    let Some(mut registers) = behind(platform, exit) else {
        return Outcome::GENERAL_PROTECTION;
    };
    registers.rax = value & 0xffff_ffff;
    registers.rdx = value >> 32;
    Outcome::Resume(registers)
}

/// Handles WRMSR.
pub fn handle_write(platform: &mut impl Platform, machine: &Machine<'_>, exit: &Exit) -> Outcome {
    let registers = &exit.registers;
    let value = registers.rdx << 32 | registers.rax & 0xffff_ffff;
    let Ok(write) = write(registers.rcx as u32, value, registers, machine.info) else {
        return Outcome::GENERAL_PROTECTION;
    };
    let Some(behind) = behind(platform, exit) else {
        return Outcome::GENERAL_PROTECTION;
    };
    let done = match write {
        Write::Efer(value) => platform.write_efer(value),
        Write::ApicBase(value) => platform.write_apic_base(value),
    };
    match done {
        Ok(()) => Outcome::Resume(behind),
        Err(_) => Outcome::GENERAL_PROTECTION,
    }
}

/// The value of a register as the guest sees it.
///
/// # Errors
/// The guest has no such register.
pub fn read(number: u32, registers: &Registers, info: &SystemInfo) -> Result<u64, Fault> {
    match number {
        detection::REGISTER => Ok(interface::register(info)),
        EFER => Ok(registers.efer),
        VM_CR => Ok(VM_CR_OFF_AND_LOCKED),
        FEATURE_CONTROL => Ok(FEATURE_CONTROL_LOCKED),
        // VM_HSAVE_PA, SVM_KEY, the capabilities of VT-x.
        _ => Err(Fault),
    }
}

/// What writing `value` to a register does.
///
/// # Errors
/// The guest cannot write this register, or not this value.
pub fn write(
    number: u32,
    value: u64,
    registers: &Registers,
    info: &SystemInfo,
) -> Result<Write, Fault> {
    match number {
        EFER => {
            let changed = value ^ registers.efer;
            // Long mode is chosen while paging is off (APM vol. 2, 14.6.1).
            if changed & EFER_LME != 0 && registers.cr0 & CR0_PAGING != 0 {
                return Err(Fault);
            }
            if value & !(info.efer_bits | EFER_LMA) != 0 {
                return Err(Fault);
            }
            // Whether long mode is active is for the processor to say.
            Ok(Write::Efer(value & !EFER_LMA | registers.efer & EFER_LMA))
        }
        APIC_BASE => Ok(Write::ApicBase(value)),
        _ => Err(Fault),
    }
}

#[cfg(test)]
mod tests {
    use super::{EFER_LMA, EFER_LME, Fault, Write, read, write};
    use super::{handle_read, handle_write};
    use crate::exit::{Exit, Outcome};
    use crate::fake::{self, Fake};
    use crate::platform::Failure;
    use lucos_abi::object::ExitReason;
    use lucos_abi::registers::Registers;

    const EFER_SCE: u64 = 1;
    const EFER_NXE: u64 = 1 << 11;
    const SVME: u64 = 1 << 12;

    fn long_mode() -> Registers {
        Registers { efer: EFER_LME | EFER_LMA, cr0: 1 << 31 | 1, ..Registers::default() }
    }

    #[test]
    fn the_extension_looks_switched_off_for_good() {
        let registers = long_mode();
        let info = fake::info();
        assert_eq!(read(0xc001_0114, &registers, &info), Ok(0x18));
        assert_eq!(read(0x3a, &registers, &info), Ok(1));
        for number in [0xc001_0117, 0xc001_0118, 0x480, 0x1234_5678] {
            assert_eq!(read(number, &registers, &info), Err(Fault));
            assert_eq!(write(number, 0, &registers, &info), Err(Fault));
        }
        assert_eq!(write(0xc001_0114, 0x18, &registers, &info), Err(Fault));
    }

    #[test]
    fn a_register_of_its_own_names_lucos() {
        let (registers, info) = (long_mode(), fake::info());
        assert_eq!(read(0x4000_004c, &registers, &info), Ok(0x4f43_554c_0003_0002));
        assert_eq!(write(0x4000_004c, 0, &registers, &info), Err(Fault));
        for number in [0x4000_0000, 0x4000_004b, 0x4000_004d] {
            assert_eq!(read(number, &registers, &info), Err(Fault), "{number:#x}");
        }
    }

    #[test]
    fn efer_keeps_what_the_processor_decides_and_never_gets_virtualization() {
        let registers = long_mode();
        let info = fake::info();
        let efer = |value| write(0xc000_0080, value, &registers, &info);
        assert_eq!(
            efer(EFER_LME | EFER_SCE | EFER_NXE),
            Ok(Write::Efer(EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE))
        );
        assert_eq!(efer(EFER_LME | SVME), Err(Fault));
        assert_eq!(efer(EFER_SCE), Err(Fault), "long mode off while paging");
        assert_eq!(efer(EFER_LME | 1 << 14), Err(Fault), "FFXSR is not there");
        assert_eq!(efer(EFER_LME | 1 << 63), Err(Fault));
    }

    #[test]
    fn long_mode_can_be_chosen_while_paging_is_off() {
        let registers = Registers::default();
        let info = fake::info();
        assert_eq!(
            write(0xc000_0080, EFER_LME | EFER_LMA, &registers, &info),
            Ok(Write::Efer(EFER_LME))
        );
    }

    fn exit(number: u64, value: u64) -> Exit {
        let mut registers = fake::kernel_registers();
        registers.rcx = number | 0xffff_ffff_0000_0000;
        registers.rax = value & 0xffff_ffff | 0xdead_0000_0000;
        registers.rdx = value >> 32 | 0xdead_0000_0000;
        Exit { reason: ExitReason::WriteMsr, instruction_length: 2, registers }
    }

    #[test]
    fn only_the_lower_halves_of_registers_count() {
        let mut platform = Fake::new();
        let info = fake::info();
        let machine = fake::machine(&info);
        let value = EFER_LME | EFER_SCE;
        let Outcome::Resume(after) =
            handle_write(&mut platform, &machine, &exit(0xc000_0080, value))
        else {
            panic!("not resumed");
        };
        assert_eq!(after.rip, exit(0, 0).registers.rip + 2);
        assert_eq!(platform.efer, Some(value | EFER_LMA));

        let Outcome::Resume(after) = handle_read(&mut platform, &machine, &exit(0xc001_0114, 0))
        else {
            panic!("not resumed");
        };
        assert_eq!((after.rax, after.rdx), (0x18, 0));
    }

    #[test]
    fn what_the_kernel_refuses_is_a_fault() {
        let mut platform = Fake::new();
        let info = fake::info();
        let machine = fake::machine(&info);
        platform.refuses = Some(Failure::Refused);
        let apic = handle_write(&mut platform, &machine, &exit(0x1b, 0xfee0_0000));
        assert_eq!(apic, Outcome::GENERAL_PROTECTION);
        let efer = handle_write(&mut platform, &machine, &exit(0xc000_0080, EFER_LME));
        assert_eq!(efer, Outcome::GENERAL_PROTECTION);
        platform.refuses = None;
        let apic = handle_write(&mut platform, &machine, &exit(0x1b, 0xfee0_0d00));
        assert!(matches!(apic, Outcome::Resume(_)));
        assert_eq!(platform.apic_base, Some(0xfee0_0d00));
    }
}
