//! Which of the guest's processors run. Kept in retained memory: a restart of this task must not
//! change it.

use lucos_abi::boot::MAX_CPUS;

use crate::platform::Platform;

/// Offset of the byte that says that the guest was started.
const STARTED: usize = 0;
/// Offset of a byte for each processor that says that it runs.
const RUNNING: usize = 64;
/// Offset of a byte for each processor: one more than the number of the processor that its last
/// command woke, 0 for none.
const WOKE: usize = RUNNING + MAX_CPUS;

/// Bytes of retained memory that are used.
pub const LENGTH: usize = WOKE + MAX_CPUS;

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

/// Whether the command that a processor is about to give has been carried out already: this task
/// was restarted before the processor could go on behind it.
pub fn has_woken(platform: &impl Platform, cpu: u32, target: u32) -> bool {
    u32::from(platform.recall(WOKE + index(cpu))) == target + 1
}

/// Notes which processor a processor's command woke; `None` when it prepares another command.
pub fn set_woken(platform: &mut impl Platform, cpu: u32, target: Option<u32>) {
    let note = target.map_or(0, |target| index(target) as u8 + 1);
    platform.retain(WOKE + index(cpu), note);
}

fn place(cpu: u32) -> usize {
    RUNNING + index(cpu)
}

/// Processors are numbered below [`MAX_CPUS`].
fn index(cpu: u32) -> usize {
    cpu as usize % MAX_CPUS
}

const _: () = assert!(MAX_CPUS < 256);
