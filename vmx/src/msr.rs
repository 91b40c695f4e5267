//! Model-specific registers that LUCOS keeps.
//!
//! All others go to the processor directly. Of these the guest sees what a processor without
//! virtualization extension would show it.

use lucos_abi::registers::Registers;

use crate::exit::{Exit, Outcome};
use crate::instruction::behind;
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

const EFER_SCE: u64 = 1;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;
const EFER_FFXSR: u64 = 1 << 14;
const EFER_TCE: u64 = 1 << 15;
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
pub fn handle_read(platform: &mut impl Platform, exit: &Exit) -> Outcome {
    let Ok(value) = read(exit.registers.rcx as u32, &exit.registers) else {
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
pub fn handle_write(platform: &mut impl Platform, exit: &Exit) -> Outcome {
    let registers = &exit.registers;
    let value = registers.rdx << 32 | registers.rax & 0xffff_ffff;
    let Ok(write) = write(registers.rcx as u32, value, registers, efer_bits(platform)) else {
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
pub fn read(number: u32, registers: &Registers) -> Result<u64, Fault> {
    match number {
        EFER => Ok(registers.efer),
        VM_CR => Ok(VM_CR_OFF_AND_LOCKED),
        FEATURE_CONTROL => Ok(FEATURE_CONTROL_LOCKED),
        // VM_HSAVE_PA, SVM_KEY, the capabilities of VT-x.
        _ => Err(Fault),
    }
}

/// What writing `value` to a register does. `efer_bits` are the bits of EFER that this processor
/// has and the guest may set.
///
/// # Errors
/// The guest cannot write this register, or not this value.
pub fn write(
    number: u32,
    value: u64,
    registers: &Registers,
    efer_bits: u64,
) -> Result<Write, Fault> {
    match number {
        EFER => {
            let changed = value ^ registers.efer;
            // Long mode is chosen while paging is off (APM vol. 2, 14.6.1).
            if changed & EFER_LME != 0 && registers.cr0 & CR0_PAGING != 0 {
                return Err(Fault);
            }
            if value & !(efer_bits | EFER_LMA) != 0 {
                return Err(Fault);
            }
            // Whether long mode is active is for the processor to say.
            Ok(Write::Efer(value & !EFER_LMA | registers.efer & EFER_LMA))
        }
        APIC_BASE => Ok(Write::ApicBase(value)),
        _ => Err(Fault),
    }
}

/// The bits of EFER that this processor has, without those of virtualization.
fn efer_bits(platform: &impl Platform) -> u64 {
    let [_, _, ecx, edx] = platform.cpuid(0x8000_0001, 0);
    [
        (edx, 11, EFER_SCE),
        (edx, 29, EFER_LME),
        (edx, 20, EFER_NXE),
        (edx, 25, EFER_FFXSR),
        (ecx, 17, EFER_TCE),
    ]
    .into_iter()
    .filter(|(register, bit, _)| register >> bit & 1 != 0)
    .fold(0, |bits, (_, _, efer)| bits | efer)
}

#[cfg(test)]
mod tests {
    use super::{EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, Fault, Write, read, write};
    use super::{handle_read, handle_write};
    use crate::exit::{Exit, Outcome};
    use crate::fake::{self, Fake};
    use crate::platform::Failure;
    use lucos_abi::object::ExitReason;
    use lucos_abi::registers::Registers;

    const SVME: u64 = 1 << 12;
    const BITS: u64 = EFER_SCE | EFER_LME | EFER_NXE;

    fn long_mode() -> Registers {
        Registers { efer: EFER_LME | EFER_LMA, cr0: 1 << 31 | 1, ..Registers::default() }
    }

    #[test]
    fn the_extension_looks_switched_off_for_good() {
        let registers = long_mode();
        assert_eq!(read(0xc001_0114, &registers), Ok(0x18));
        assert_eq!(read(0x3a, &registers), Ok(1));
        for number in [0xc001_0117, 0xc001_0118, 0x480, 0x1234_5678] {
            assert_eq!(read(number, &registers), Err(Fault));
            assert_eq!(write(number, 0, &registers, BITS), Err(Fault));
        }
        assert_eq!(write(0xc001_0114, 0x18, &registers, BITS), Err(Fault));
    }

    #[test]
    fn efer_keeps_what_the_processor_decides_and_never_gets_virtualization() {
        let registers = long_mode();
        let efer = |value| write(0xc000_0080, value, &registers, BITS);
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
        assert_eq!(
            write(0xc000_0080, EFER_LME | EFER_LMA, &registers, BITS),
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
        let value = EFER_LME | EFER_SCE;
        let Outcome::Resume(after) = handle_write(&mut platform, &exit(0xc000_0080, value)) else {
            panic!("not resumed");
        };
        assert_eq!(after.rip, exit(0, 0).registers.rip + 2);
        assert_eq!(platform.efer, Some(value | EFER_LMA));

        let Outcome::Resume(after) = handle_read(&mut platform, &exit(0xc001_0114, 0)) else {
            panic!("not resumed");
        };
        assert_eq!((after.rax, after.rdx), (0x18, 0));
    }

    #[test]
    fn what_the_kernel_refuses_is_a_fault() {
        let mut platform = Fake::new();
        platform.refuses = Some(Failure::Refused);
        let apic = handle_write(&mut platform, &exit(0x1b, 0xfee0_0000));
        assert_eq!(apic, Outcome::GENERAL_PROTECTION);
        let efer = handle_write(&mut platform, &exit(0xc000_0080, EFER_LME));
        assert_eq!(efer, Outcome::GENERAL_PROTECTION);
        platform.refuses = None;
        let apic = handle_write(&mut platform, &exit(0x1b, 0xfee0_0d00));
        assert!(matches!(apic, Outcome::Resume(_)));
        assert_eq!(platform.apic_base, Some(0xfee0_0d00));
    }
}
