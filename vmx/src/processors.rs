//! Which of the guest's processors run. Kept in retained memory: a restart of this task must not
//! change it.

use lucos_abi::boot::MAX_CPUS;

use crate::platform::Platform;

/// Offset of the byte that says that the guest was started.
const STARTED: usize = 0;
/// Offset of a byte for each processor that says that it runs.
const RUNNING: usize = 64;

/// Bytes of retained memory that are used.
pub const LENGTH: usize = RUNNING + MAX_CPUS;

/// Whether the guest was started.
pub fn guest_started(platform: &impl Platform) -> bool {
    platform.recall(STARTED) != 0
}

/// Notes that the guest was started.
pub fn set_guest_started(platform: &mut impl Platform) {
    platform.retain(STARTED, 1);
}

/// Whether a processor runs; those that were never started do not.
pub fn runs(platform: &impl Platform, cpu: u32) -> bool {
    platform.recall(place(cpu)) != 0
}

/// Notes whether a processor runs.
pub fn set_runs(platform: &mut impl Platform, cpu: u32, runs: bool) {
    platform.retain(place(cpu), u8::from(runs));
}

fn place(cpu: u32) -> usize {
    // Processors are numbered below `MAX_CPUS`.
    RUNNING + cpu as usize % MAX_CPUS
}
