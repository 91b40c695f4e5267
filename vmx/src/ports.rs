//! I/O ports that are not the guest's alone.
//!
//! * The sleep control: the firmware wakes a sleeping machine outside of LUCOS, at an address of the
//!   guest's choice. Only switching off passes.
//! * The system control port: address line 20 stays on. Without it all addresses of a processor, those
//!   of LUCOS among them, lose a bit.
//!
//! What the ports are is kept in retained memory: all threads need it, and a restart must not lose it.

use lucos_abi::object::PortAccess;
use lucos_linux_boot::acpi::{MAX_SLEEP_REGISTERS, SleepControl, SleepRegister};

use crate::instruction::behind;
use crate::outcome::{Exit, Outcome};
use crate::platform::Platform;
use crate::processors;
use lucos_service::client::Failure;

/// System control port A. Bit 1 is address line 20.
const SYSTEM_CONTROL: u16 = 0x92;
const ADDRESS_LINE_20: u8 = 1 << 1;

/// Bytes of a kept sleep register: port, sleep type.
const ENTRY: usize = 3;
const ENTRIES: usize = processors::LENGTH;

/// Bytes of retained memory that are used, with those of [`processors`].
pub const LENGTH: usize = ENTRIES + MAX_SLEEP_REGISTERS * ENTRY;

/// Makes the guest's accesses to these ports come here.
///
/// # Errors
/// The kernel refuses.
pub fn start(platform: &mut impl Platform, control: &SleepControl) -> Result<(), Failure> {
    for (index, register) in control.registers.iter().enumerate() {
        let [low, high] = register.port.to_le_bytes();
        for (byte, value) in [low, high, register.off].into_iter().enumerate() {
            platform.retain(ENTRIES + index * ENTRY + byte, value);
        }
        platform.intercept_port(register.port)?;
    }
    platform.intercept_port(SYSTEM_CONTROL)
}

/// What may be written of a byte for a port.
fn allowed(platform: &impl Platform, port: u16, byte: u8) -> u8 {
    if port == SYSTEM_CONTROL {
        return byte | ADDRESS_LINE_20;
    }
    let registers = (0..MAX_SLEEP_REGISTERS).map(|index| {
        let [low, high, off] =
            [0, 1, 2].map(|byte| platform.recall(ENTRIES + index * ENTRY + byte));
        SleepRegister { port: u16::from_le_bytes([low, high]), off }
    });
    // Port 0 is none of an empty place: it is not intercepted.
    let mut here = registers.filter(|register| register.port == port && port != 0);
    here.next().map_or(byte, |register| register.allowed(byte))
}

/// Handles IN and OUT.
pub fn handle(platform: &mut impl Platform, exit: &Exit, access: PortAccess) -> Outcome {
    let PortAccess { port, size, input, string } = access;
    // Nobody moves blocks of memory through these ports.
    if string {
        return Outcome::GENERAL_PROTECTION;
    }
    let Some(mut registers) = behind(platform, exit) else {
        return Outcome::GENERAL_PROTECTION;
    };
    let output = (!input).then(|| {
        let mut bytes = (registers.rax as u32).to_le_bytes();
        for (index, byte) in (0..).zip(&mut bytes).take(size.into()) {
            *byte = allowed(platform, port.wrapping_add(index), *byte);
        }
        u32::from_le_bytes(bytes)
    });
    let Ok(value) = platform.access_port(port, size, output) else {
        return Outcome::GENERAL_PROTECTION;
    };
    if input {
        registers.rax = match size {
            1 => registers.rax & !0xff | u64::from(value) & 0xff,
            2 => registers.rax & !0xffff | u64::from(value) & 0xffff,
            _ => value.into(),
        };
    }
    Outcome::Resume(registers)
}

#[cfg(test)]
mod tests {
    use super::{handle, start};
    use crate::fake::{self, Fake};
    use crate::outcome::{Exit, Outcome};
    use lucos_abi::object::{ExitReason, PortAccess};
    use lucos_abi::registers::Registers;
    use lucos_linux_boot::acpi::{SleepControl, SleepRegister};

    fn machine() -> Fake {
        let mut platform = Fake::new();
        let registers = [(0x605, 0), (0x705, 5)].map(|(port, off)| SleepRegister { port, off });
        let control = SleepControl { registers: registers.into_iter().collect(), is_open: false };
        start(&mut platform, &control).unwrap();
        platform
    }

    fn access(platform: &mut Fake, rax: u64, access: PortAccess) -> Outcome {
        let registers = Registers { rax, ..fake::kernel_registers() };
        let reason = ExitReason::Port(access);
        handle(platform, &Exit { reason, instruction_length: 1, registers }, access)
    }

    /// What arrives at the port when the guest writes a value.
    fn written(port: u16, size: u8, value: u32) -> u32 {
        let mut platform = machine();
        let out = PortAccess { port, size, input: false, string: false };
        let outcome = access(&mut platform, 0xdead_0000_0000_0000 | u64::from(value), out);
        assert!(matches!(outcome, Outcome::Resume(_)));
        let [(at, bytes, Some(output))] = platform.ports[..] else {
            panic!("{:?}", platform.ports);
        };
        assert_eq!((at, bytes), (port, size));
        output
    }

    #[test]
    fn the_ports_of_the_machine_and_line_20_are_intercepted() {
        assert_eq!(machine().intercepted, [0x605, 0x705, 0x92]);
    }

    #[test]
    fn only_switching_off_passes_whatever_the_access_is() {
        for kind in 0..8_u32 {
            let go = 1 << 13 | kind << 10 | 1;
            let stay = go & !(1 << 13);
            assert_eq!(written(0x604, 2, go), if kind == 0 { go } else { stay });
            assert_eq!(written(0x704, 2, go), if kind == 5 { go } else { stay });
            assert_eq!(written(0x605, 1, go >> 8), if kind == 0 { go >> 8 } else { stay >> 8 });
            assert_eq!(written(0x604, 4, go), if kind == 0 { go } else { stay });
            let shifted = if kind == 0 { go << 16 } else { stay << 16 };
            assert_eq!(written(0x602, 4, go << 16), shifted);
        }
        assert_eq!(written(0x604, 2, 0x1c01), 0x1c01, "no sleep");
    }

    #[test]
    fn line_20_stays_on() {
        assert_eq!(written(0x92, 1, 0), 2);
        assert_eq!(written(0x92, 1, 1), 3, "a reset is the guest's");
        assert_eq!(written(0x91, 2, 0x0007), 0x0207);
    }

    #[test]
    fn reads_change_what_the_size_says_and_blocks_are_refused() {
        let mut platform = machine();
        platform.port_value = 0x8765_4321;
        for (size, expected) in
            [(1, 0x1111_1111_1111_1121), (2, 0x1111_1111_1111_4321), (4, 0x8765_4321)]
        {
            let input = PortAccess { port: 0x604, size, input: true, string: false };
            let Outcome::Resume(after) = access(&mut platform, 0x1111_1111_1111_1111, input) else {
                panic!("not resumed");
            };
            assert_eq!(after.rax, expected);
        }
        let block = PortAccess { port: 0x604, size: 2, input: false, string: true };
        assert_eq!(access(&mut platform, 0, block), Outcome::GENERAL_PROTECTION);
    }
}
