//! The end: LUCOS cannot go on.

use crate::arch;
use crate::fatal::Fatal;
use crate::object::log;
use core::fmt;

/// Status written to the exit port when LUCOS itself fails.
const EXIT_FAULT: u8 = 0x13;

/// Says why, and stops all processors for good; in an emulator with an exit port, ends it.
pub fn end(why: fmt::Arguments<'_>) -> ! {
    log::fault_line(why);
    arch::end_machine(log::exit_port(), EXIT_FAULT)
}

/// The same for what has a name.
pub fn die(why: Fatal) -> ! {
    end(format_args!("{why}"))
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    end(format_args!("{info}"))
}
