//! The end: LUCOS cannot go on.

use crate::{arch, output};
use core::fmt;

/// Why LUCOS cannot start or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// The boot stub's record is missing or not readable.
    BadBootRecord,
    /// A word on LUCOS's command line has no meaning.
    UnknownOption,
    /// A port on LUCOS's command line is no number.
    BadPort,
    /// No frame of LUCOS's region is free any more.
    OutOfMemory,
    /// The bundle lacks a part.
    MissingModule(&'static str),
    /// The system table is not readable.
    BadSystemTable,
    /// The system table asks for something that is not allowed.
    SystemTableRefused,
    /// A task's image is no static ELF for this machine, or leaves its area.
    BadTaskImage,
    /// The machine's ACPI tables name no processors.
    NoProcessors,
    /// The machine has more processors than LUCOS can use.
    TooManyProcessors,
    /// The processor has no virtualization extension that LUCOS can use.
    NoExtension,
    /// The firmware locked the virtualization extension off.
    ExtensionLocked,
    /// The processor lacks nested paging, or something else that LUCOS needs.
    MissingFeature(&'static str),
    /// There is no free page below 1 MiB for the start code of other processors.
    NoLowMemory,
    /// A processor did not start.
    ProcessorDead(u32),
    /// The task that runs the vCPUs fails again and again.
    RootTaskFails,
    /// The processor refuses a VMCB.
    BadVmcb,
}

impl fmt::Display for Fatal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::BadBootRecord => write!(formatter, "the boot record is missing or unreadable"),
            Fatal::UnknownOption => write!(formatter, "unknown word on the LUCOS command line"),
            Fatal::BadPort => write!(formatter, "a port on the LUCOS command line is no number"),
            Fatal::OutOfMemory => write!(formatter, "LUCOS's memory region is full"),
            Fatal::MissingModule(name) => write!(formatter, "the bundle has no '{name}'"),
            Fatal::BadSystemTable => write!(formatter, "the system table is unreadable"),
            Fatal::SystemTableRefused => write!(formatter, "the system table is not allowed"),
            Fatal::BadTaskImage => write!(formatter, "a task image is not a valid static ELF"),
            Fatal::NoProcessors => write!(formatter, "ACPI names no processors"),
            Fatal::TooManyProcessors => write!(formatter, "too many processors"),
            Fatal::NoExtension => write!(
                formatter,
                "this processor offers no virtualization extension that LUCOS can use"
            ),
            Fatal::ExtensionLocked => {
                write!(formatter, "the firmware switched virtualization off")
            }
            Fatal::MissingFeature(name) => write!(formatter, "this processor lacks {name}"),
            Fatal::NoLowMemory => write!(formatter, "no free page below 1 MiB"),
            Fatal::ProcessorDead(id) => {
                write!(formatter, "the processor with APIC id {id} does not start")
            }
            Fatal::RootTaskFails => write!(formatter, "the first task fails again and again"),
            Fatal::BadVmcb => write!(formatter, "the processor refuses the guest's state"),
        }
    }
}

/// Says why and stops for good; in an emulator with an exit port, ends it.
pub fn die(why: Fatal) -> ! {
    output::fault_line(format_args!("{why}"));
    arch::end_machine(output::exit_port(), EXIT_FAULT)
}

/// Status written to the exit port when LUCOS itself fails.
pub const EXIT_FAULT: u8 = 0x13;

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    output::fault_line(format_args!("{info}"));
    arch::end_machine(output::exit_port(), EXIT_FAULT)
}
