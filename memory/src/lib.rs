//! The task `memory`: the guest's physical memory as the guest may see it, and reads and writes on
//! the guest's behalf and in its address spaces, all checked.
//!
//! | module | what it does |
//! |---|---|
//! | [`map`] | what lies at a guest-physical address |
//! | [`platform`] | what the kernel does for this task |
//! | [`guest_tables`] | walks the guest's page tables |
//! | [`translate`] | from guest-virtual to guest-physical addresses |
//! | [`access`] | reads and writes |
//! | [`code`] | comparing and writing code |
//! | [`space`] | what the guest may do where: the mapping, guarded pages, faults |
//! | [`guards`] | the list of guarded pages |
//! | [`confined`] | the confined view: what is open in it, and what a write changed |
//! | [`pairs`] | moving the contents of objects and twins |
//! | [`retained`] | what survives a restart |
//! | [`hash`] | the hash of everything that the guest owns |
//! | [`service`] | requests and replies |

#![cfg_attr(not(any(test, feature = "fake")), no_std)]
#![forbid(unsafe_code)]

pub mod access;
pub mod code;
pub mod confined;
pub mod guards;
pub mod guest_tables;
pub mod hash;
#[cfg(feature = "fault-injection")]
pub mod injection;
pub mod map;
pub mod pairs;
pub mod platform;
pub mod retained;
pub mod service;
pub mod space;
pub mod translate;

#[cfg(any(test, feature = "fake"))]
pub mod fake;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
