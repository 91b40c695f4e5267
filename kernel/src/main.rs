//! The LUCOS microkernel.
//!
//! It owns the processors, one region of memory and the virtualization extension, and it knows
//! nothing of the guest's operating system. Policy lives in three ring-3 tasks that reach the
//! kernel and each other by postcard messages only.
//!
//! | module | concern |
//! |---|---|
//! | `arch` | processor: entry, descriptor tables, ring 3, other processors, NMIs, AMD-V |
//! | `memory` | frames, direct map, kernel and task address spaces, heap |
//! | `task`, `chain` | tasks, and the chain of calls that each processor runs |
//! | `object` | what a capability names: vCPU, machine, guest space, guest memory, log |
//! | `stop` | stopping all vCPUs |
//!
//! The way of a VM exit: `arch::svm::vcpu` → `object::vcpu` → `chain` → the `vmx` task.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(not(target_os = "none"), allow(dead_code))]
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

#[allow(unsafe_code)]
mod arch;
mod boot;
mod chain;
mod cpuid_table;
mod fatal;
#[allow(unsafe_code)]
mod memory;
mod object;
mod options;
mod stop;
mod system;
mod task;

hermit_entry::define_entry_version!();
hermit_entry::define_abi_tag!();

/// On a host the kernel is only checked and documented, never run.
#[cfg(not(target_os = "none"))]
fn main() {}
