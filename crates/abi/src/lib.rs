//! The contract between kernel, tasks and boot stub: every message, call number and boot record.
//!
//! Both sides of every interface compile against this crate, so there is one definition of each
//! message. All messages are postcard; [`message`] decodes them strictly.
//!
//! | module | between |
//! |---|---|
//! | [`boot`] | boot stub → kernel, kernel → threads: what there is at the start |
//! | [`manifest`] | image builder → boot stub → kernel: which tasks exist and what they may use |
//! | [`call`] | task ↔ kernel: the three system calls and their status |
//! | [`object`] | task → kernel objects: vCPU, machine, guest space, guest memory, log |
//! | [`registers`] | the register block of a vCPU, one byte block inside messages |
//! | [`cpuid`] | task → kernel: what the guest's CPUID says where it leaves the guest |
//! | [`layout`] | the address space of a task |

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod boot;
pub mod call;
pub mod cpuid;
pub mod layout;
pub mod manifest;
pub mod message;
pub mod object;
pub mod registers;
