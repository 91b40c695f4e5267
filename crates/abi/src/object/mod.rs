//! What a task can ask of a kernel object, and what it gets back.
//!
//! Each object kind has one request type; the capability in the slot decides which one the kernel
//! decodes. `Rights` says which right a request needs. There is a file for each, as in the kernel.

mod guest_memory;
mod guest_space;
mod log;
mod machine;
mod vcpu;

pub use guest_memory::{GuestMemoryReply, GuestMemoryRequest};
pub use guest_space::{SpaceRequest, View};
pub use log::{LOG_FIRST, LOG_MOVING, LogRequest, LogRing};
pub use machine::{COUNTERS, Counter, FlatStart, MachineReply, MachineRequest};
pub use vcpu::{Access, Event, ExitReason, PortAccess, VcpuReply, VcpuRequest};

use serde::{Deserialize, Serialize};

/// Reply of objects that only say that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done;
