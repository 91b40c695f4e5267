//! The instruction at which the guest stopped.

use lucos_abi::registers::{EFER_LMA, Registers};
use lucos_service::AddressSpace;
use lucos_x86_code::LONGEST_INSTRUCTION;
use lucos_x86_code::length::instruction_length;

use crate::outcome::Exit;
use crate::platform::Platform;

const CR0_PAGING: u64 = 1 << 31;
const CR4_FIVE_LEVELS: u64 = 1 << 12;

/// The page tables that the vCPU uses; `None` while it uses none, or 32-bit ones.
pub fn address_space(registers: &Registers) -> Option<AddressSpace> {
    if registers.efer & EFER_LMA == 0 {
        return None;
    }
    Some(AddressSpace { root: registers.cr3, five_levels: registers.cr4 & CR4_FIVE_LEVELS != 0 })
}

/// The bytes at RIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    bytes: [u8; LONGEST_INSTRUCTION],
    length: usize,
}

impl Code {
    /// Fetches up to 15 bytes at RIP. `None` when they cannot be read, or when the vCPU uses 32-bit
    /// page tables, with which Linux neither runs nor starts its processors.
    pub fn fetch(platform: &mut impl Platform, registers: &Registers) -> Option<Self> {
        let address = match registers.code_size {
            64 => registers.rip,
            _ => registers.cs_base.wrapping_add(registers.rip) & 0xffff_ffff,
        };
        let mut bytes = [0; LONGEST_INSTRUCTION];
        let length = if let Some(space) = address_space(registers) {
            platform.fetch(space, address, &mut bytes).ok()?
        } else if registers.cr0 & CR0_PAGING == 0 {
            platform.read_physical(address, &mut bytes).ok()?;
            bytes.len()
        } else {
            return None;
        };
        Some(Self { bytes, length })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The registers behind the instruction at which the guest stopped. `None` when its length cannot
/// be found out.
pub fn behind(platform: &mut impl Platform, exit: &Exit) -> Option<Registers> {
    let length = match exit.instruction_length {
        0 => {
            let code = Code::fetch(platform, &exit.registers)?;
            instruction_length(code.bytes(), exit.registers.code_size).ok()?
        }
        length => length,
    };
    Some(step(&exit.registers, length))
}

/// The registers behind an instruction of `length` bytes.
pub fn step(registers: &Registers, length: u8) -> Registers {
    let rip = registers.rip.wrapping_add(u64::from(length));
    Registers {
        rip: match registers.code_size {
            64 => rip,
            _ => rip & 0xffff_ffff,
        },
        ..*registers
    }
}

#[cfg(test)]
mod tests {
    use super::{behind, step};
    use crate::fake::{self, Fake};
    use crate::outcome::Exit;
    use lucos_abi::object::ExitReason;
    use lucos_abi::registers::Registers;

    fn exit(length: u8) -> Exit {
        Exit {
            reason: ExitReason::Hypercall,
            instruction_length: length,
            registers: fake::kernel_registers(),
        }
    }

    #[test]
    fn the_processors_length_is_taken_when_there_is_one() {
        let mut platform = Fake::new();
        let registers = behind(&mut platform, &exit(3)).unwrap();
        assert_eq!(registers.rip, exit(3).registers.rip + 3);
        assert_eq!(platform.fetches, 0);
    }

    #[test]
    fn otherwise_the_instruction_is_looked_at() {
        let mut platform = Fake::new();
        platform.code = vec![0x0f, 0x01, 0xd9, 0x90];
        let registers = behind(&mut platform, &exit(0)).unwrap();
        assert_eq!(registers.rip, exit(0).registers.rip + 3);
        platform.code = vec![0x0f];
        assert_eq!(behind(&mut platform, &exit(0)), None);
    }

    #[test]
    fn code_without_paging_is_read_physically() {
        let mut platform = Fake::new();
        platform.memory.put(0x9_8010, &[0x0f, 0x30]);
        let mut exit = exit(0);
        exit.registers =
            Registers { rip: 0x10, cs_base: 0x9_8000, code_size: 32, ..Registers::default() };
        let registers = behind(&mut platform, &exit).unwrap();
        assert_eq!(registers.rip, 0x12);
        assert_eq!(platform.fetches, 0);
        exit.registers.cr0 = 1 << 31;
        assert_eq!(behind(&mut platform, &exit), None, "32-bit page tables");
    }

    #[test]
    fn a_step_wraps_as_the_code_does() {
        let registers = Registers { rip: 0xffff_fffe, code_size: 32, ..Registers::default() };
        assert_eq!(step(&registers, 3).rip, 1);
    }
}
