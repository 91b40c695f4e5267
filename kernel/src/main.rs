//! The LUCOS microkernel.
//!
//! It owns the processors, one region of memory and the virtualization extension, and it knows
//! nothing of the guest's operating system. Policy lives in three ring-3 tasks that reach the
//! kernel and each other by postcard messages only.
//!
//! | module | concern |
//! |---|---|
//! | `arch` | processor: entry, descriptor tables, ring 3, other processors, NMIs, AMD-V, VT-x |
//! | `memory` | frames, direct map, kernel and task address spaces, heap |
//! | `task`, `chain` | tasks, and the chain of calls that each processor runs |
//! | `object` | what a capability names: vCPU, machine, guest space, guest memory, log |
//! | `stop` | stopping all vCPUs |
//!
//! The way of a VM exit: `vcpu` and its back-end → `object::vcpu` → `chain` → the `vmx` task.
//!
//! # Locks
//!
//! All of them spin. Traps of the kernel, NMIs above all, take none: they only count. Who holds one
//! takes at most those below it; who holds `tables` or stands between "in the guest" and "out" may
//! be waited for by every other processor.
//!
//! | lock | guards | held for |
//! |---|---|---|
//! | `memory::nested` tables | the nested page table | a change, and until all have forgotten the old |
//! | `PerProcessor::start`, `snapshot` | what another processor asks or sees | a copy |
//! | `nmi` forwarding | a word, set seldom | a copy |
//! | `memory::slot` | the page that shows guest memory | a copy of a page |
//! | `memory::kernel_space` | the kernel's tables | a change |
//! | frames, heap | LUCOS's memory | an allocation |
//! | log | ring and ports | a line; `fault_line` goes without when it is not free |
//!
//! Besides there are the stop (`stop`), and restarts of a task (`task`), which have no lock but an
//! order of their own.

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
mod end;
mod fatal;
#[allow(unsafe_code)]
mod memory;
mod object;
mod stop;
mod task;
mod vcpu;

hermit_entry::define_entry_version!();
hermit_entry::define_abi_tag!();

/// On a host the kernel is only checked and documented, never run.
#[cfg(not(target_os = "none"))]
fn main() {}
