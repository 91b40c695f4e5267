//! The Linux 64-bit boot protocol and the ACPI tables the guest sees, as pure functions.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
