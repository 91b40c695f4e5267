//! The frames of LUCOS's region.

use super::PAGE;
use lucos_abi::boot::MemoryRange;
use spin::Mutex;

/// Most frames in a region: 16 MiB.
const MAX: usize = 4096;

struct Frames {
    start: u64,
    count: usize,
    used: [bool; MAX],
}

static FRAMES: Mutex<Frames> = Mutex::new(Frames { start: 0, count: 0, used: [false; MAX] });

/// Takes over the region; its first `taken` bytes are in use already.
pub fn start(region: MemoryRange, taken: u64) {
    let mut frames = FRAMES.lock();
    frames.start = region.start;
    frames.count = usize::try_from(region.length / PAGE).map_or(MAX, |count| count.min(MAX));
    let taken = usize::try_from(super::whole_pages(taken)).unwrap_or(MAX);
    for used in frames.used.iter_mut().take(taken) {
        *used = true;
    }
}

/// Takes `count` frames in a row; their contents are whatever was there.
pub fn allocate_run(count: u64) -> Option<u64> {
    let count = usize::try_from(count).ok().filter(|count| *count > 0)?;
    let mut frames = FRAMES.lock();
    let all = frames.count;
    let (first, _) = frames
        .used
        .get(..all)?
        .windows(count)
        .enumerate()
        .find(|(_, run)| run.iter().all(|used| !used))?;
    for used in frames.used.iter_mut().skip(first).take(count) {
        *used = true;
    }
    Some(frames.start + first as u64 * PAGE)
}

/// Gives one frame back.
pub fn free(frame: u64) {
    let mut frames = FRAMES.lock();
    let index = frame.wrapping_sub(frames.start) / PAGE;
    if let Some(used) = usize::try_from(index).ok().and_then(|index| frames.used.get_mut(index)) {
        *used = false;
    }
}

/// The frame belongs to the region.
pub fn contains(frame: u64) -> bool {
    let frames = FRAMES.lock();
    frame.wrapping_sub(frames.start) / PAGE < frames.count as u64
}

/// Frames in use, and all.
pub fn usage() -> (usize, usize) {
    let frames = FRAMES.lock();
    let used = frames.used.iter().take(frames.count).filter(|used| **used);
    (used.count(), frames.count)
}
