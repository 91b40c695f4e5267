//! The pure parts of the boot stub: what QEMU or GRUB handed over, where LUCOS goes, what the
//! bundle holds. Everything here runs on any machine; only the binary touches memory.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), forbid(unsafe_code))]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]
#![cfg_attr(not(test), warn(clippy::panic, clippy::indexing_slicing))]

pub mod bundle;
pub mod efi;
pub mod error;
pub mod handover;
pub mod kernel_file;
pub mod memory_map;
pub mod multiboot;
pub mod options;
pub mod placement;
pub mod pvh;
pub mod region;
