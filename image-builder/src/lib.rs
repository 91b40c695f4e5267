//! Assembles what LUCOS boots: the guest's kernel and initramfs, the boot bundle, the ISO.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod initramfs;
pub mod iso;
pub mod libraries;
pub mod modules;
pub mod system;
pub mod task_image;
pub mod tree;
