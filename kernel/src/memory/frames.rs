//! The free frames of LUCOS's region: a border up to which they were taken, and those that came back.

use super::PAGE;
use lucos_abi::boot::Span;
use lucos_abi::layout::DIRECT;
use spin::Mutex;

struct Frames {
    /// Frames that were never taken.
    untouched: Span,
    /// The frame that came back last, 0 for none. Its first word says which came back before it.
    free: u64,
    /// How many came back and were not taken again.
    free_count: u64,
}

static FRAMES: Mutex<Frames> =
    Mutex::new(Frames { untouched: Span { start: 0, end: 0 }, free: 0, free_count: 0 });

/// Takes over a part of the region that is not used otherwise. Once.
pub fn start(untouched: Span) {
    FRAMES.lock().untouched = untouched;
}

/// Takes `count` frames in a row; their contents are whatever was there.
pub fn allocate_run(count: u64) -> Option<u64> {
    let mut frames = FRAMES.lock();
    if count == 1 && frames.free != 0 {
        let frame = frames.free;
        // SAFETY: the frame is RAM of the region, mapped for ever, and nobody's; `free` wrote the
        // word.
        frames.free = unsafe { *((DIRECT + frame) as *const u64) };
        frames.free_count -= 1;
        return Some(frame);
    }
    let frame = frames.untouched.start;
    let next = frame.checked_add(count.checked_mul(PAGE)?)?;
    (next <= frames.untouched.end).then(|| frames.untouched.start = next)?;
    Some(frame)
}

/// Gives a frame back that [`allocate_run`] gave.
pub fn free(frame: u64) {
    let mut frames = FRAMES.lock();
    // SAFETY: the frame is RAM of the region, mapped for ever, and whoever gives it back does not
    // use it any more.
    unsafe { *((DIRECT + frame) as *mut u64) = frames.free };
    frames.free = frame;
    frames.free_count += 1;
}

/// Frames that can still be taken one by one.
pub fn available() -> u64 {
    let frames = FRAMES.lock();
    (frames.untouched.end - frames.untouched.start) / PAGE + frames.free_count
}
