//! Exits after which the guest cannot go on.

use lucos_abi::registers::Registers;

use crate::outcome::Outcome;
use crate::platform::Platform;

/// A triple fault resets the machine, as it does without LUCOS; Linux uses that to reboot.
pub fn handle(platform: &mut impl Platform, registers: &Registers) -> Outcome {
    describe(platform, "triple fault", registers);
    Outcome::Reset
}

/// The root of the page tables is no memory that the guest may use: no fault can be delivered, so
/// this ends like a triple fault.
pub fn handle_lost_tables(platform: &mut impl Platform, registers: &Registers) -> Outcome {
    describe(platform, "no page tables", registers);
    Outcome::Reset
}

/// The guest has made a state that the processor refuses. No fault can be delivered in it, so this
/// ends like a triple fault.
pub fn handle_invalid_state(platform: &mut impl Platform, registers: &Registers) -> Outcome {
    describe(platform, "the processor refuses the state that the guest has made", registers);
    Outcome::Reset
}

/// An exit that nobody asked for.
pub fn handle_unknown(
    platform: &mut impl Platform,
    registers: &Registers,
    [code, info1, info2]: [u64; 3],
) -> Outcome {
    platform.log(format_args!("unknown exit {code:#x}, {info1:#x}, {info2:#x}"));
    describe(platform, "unknown exit", registers);
    Outcome::Stop
}

fn describe(platform: &mut impl Platform, what: &str, registers: &Registers) {
    let cpu = platform.cpu();
    let Registers { rip, rsp, rflags, cr0, cr2, cr3, cr4, efer, cpl, .. } = registers;
    platform.log(format_args!(
        "processor {cpu}: {what}: rip {rip:#x} rsp {rsp:#x} rflags {rflags:#x} cpl {cpl}"
    ));
    platform
        .log(format_args!("cr0 {cr0:#x} cr2 {cr2:#x} cr3 {cr3:#x} cr4 {cr4:#x} efer {efer:#x}"));
}

#[cfg(test)]
mod tests {
    use super::{handle, handle_invalid_state, handle_lost_tables, handle_unknown};
    use crate::fake::{self, Fake};
    use crate::outcome::Outcome;

    #[test]
    fn each_says_what_happened() {
        let registers = fake::kernel_registers();
        let mut platform = Fake::new();
        assert_eq!(handle(&mut platform, &registers), Outcome::Reset);
        assert_eq!(handle_lost_tables(&mut platform, &registers), Outcome::Reset);
        assert_eq!(handle_invalid_state(&mut platform, &registers), Outcome::Reset);
        let unknown = handle_unknown(&mut platform, &registers, [0x75, 1, 2]);
        assert_eq!(unknown, Outcome::Stop);
        let log = platform.log.join("\n");
        for expected in
            ["triple fault", "no page tables", "refuses", "0x75, 0x1, 0x2", "rip 0xffff"]
        {
            assert!(log.contains(expected), "{expected} in {log}");
        }
    }
}
