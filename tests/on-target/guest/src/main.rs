//! A bare-metal guest that checks from inside what a guest must see.
//!
//! It owns its processors, so it is full of unsafe code; it is a test and no part of LUCOS. The
//! suite starts it in 64-bit mode with flat segments and identity page tables.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(not(target_os = "none"), allow(unused))]
#![allow(clippy::undocumented_unsafe_blocks)]

#[cfg(target_os = "none")]
mod apic;
#[cfg(target_os = "none")]
mod carried;
#[cfg(target_os = "none")]
mod checks;
#[cfg(target_os = "none")]
mod detours;
#[cfg(target_os = "none")]
mod guarded;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod start;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program is a test guest of LUCOS and runs nowhere else");
    std::process::exit(1);
}
