//! The Linux 64-bit boot protocol and the ACPI tables the guest sees, as pure functions.
//!
//! | module | what it makes |
//! |---|---|
//! | [`kernel`] | what the header of a bzImage says, checked |
//! | [`placement`] | where kernel, initial RAM disk and parameters go |
//! | [`parameters`] | the page of boot parameters |
//! | [`nvs`] | the ACPI NVS area: mailbox, start code, page tables, tables |
//! | [`acpi`] | the ACPI tables in that area |
//! | [`mailbox`] | the commands of the multiprocessor wake-up mailbox |
//! | [`entry`] | page tables, segments and code that processors start with |
//! | [`efi`] | the UEFI memory map without LUCOS's memory |
//!
//! The boot protocol is described in Linux' `Documentation/arch/x86/boot.rst` and `zero-page.rst`,
//! the tables in the ACPI specification 6.5, chapter 5.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod acpi;
pub mod efi;
pub mod entry;
mod fields;
pub mod kernel;
pub mod mailbox;
pub mod nvs;
pub mod parameters;
pub mod placement;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bytes of a page, as a length.
pub(crate) const PAGE_LENGTH: usize = 4096;
