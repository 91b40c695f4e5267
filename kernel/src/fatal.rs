//! What ends LUCOS.

use thiserror::Error;

/// Why LUCOS cannot start or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fatal {
    /// The boot stub's record is missing or not readable.
    #[error("the boot record is missing or unreadable")]
    BadBootRecord,
    /// No frame of LUCOS's region is free any more.
    #[error("LUCOS's memory region is full")]
    OutOfMemory,
    /// The processor has no virtualization extension that LUCOS can use.
    #[error("this processor offers no virtualization extension that LUCOS can use")]
    NoExtension,
    /// The firmware locked the virtualization extension off.
    #[error("the firmware switched virtualization off")]
    ExtensionLocked,
    /// The processor lacks nested paging, or something else that LUCOS needs.
    #[error("this processor lacks {0}")]
    MissingFeature(&'static str),
    /// A processor did not start.
    #[error("the processor with APIC id {0} does not start")]
    ProcessorDead(u32),
    /// A call names a task that there is not, though the system table was checked.
    #[error("a call to a task that there is not")]
    NoSuchTask,
    /// The task that runs the vCPUs fails again and again.
    #[error("the first task fails again and again")]
    RootTaskFails,
}
