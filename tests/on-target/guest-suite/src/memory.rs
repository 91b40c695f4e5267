//! What may be read and written of each range of the memory map.

use lucos_abi::boot::MemoryRange;
use lucos_abi::object::{Done, GuestMemoryRequest};
use lucos_runtime::{CallError, GuestWindow, Object, Thread, system_info};

use crate::report::check;

const WIDTH: u64 = 8;

/// Looks at the first and last bytes of every range. Memory ends as it was.
pub fn check_map(thread: &mut Thread) {
    let info = system_info();
    let window = GuestWindow::new(info);
    let mut end = 0;
    for range in &info.memory {
        let whole =
            range.start >= end && range.length > 0 && (range.start | range.length) % 4096 == 0;
        check(thread, "ranges_are_whole_pages_in_order", whole, true);
        end = range.end();
        for gpa in [range.start, range.end() - WIDTH] {
            look_at(thread, &window, range, gpa);
        }
    }
    for own in [info.region, info.nvs] {
        check(thread, "lucos_is_in_the_map", info.memory.contains(&own), true);
    }
    for gpa in [end.saturating_sub(WIDTH / 2), u64::MAX - WIDTH / 2] {
        let written = write(thread, gpa, &[0; 8]);
        check(thread, "what_leaves_the_map_is_refused", written, false);
    }
}

fn look_at(thread: &mut Thread, window: &GuestWindow, range: &MemoryRange, gpa: u64) {
    let mut bytes = [0; WIDTH as usize];
    let read = window.read(gpa, &mut bytes).is_ok();
    check(thread, "readable_by_kind", (range.kind, read), (range.kind, range.kind.is_readable()));
    let written = write(thread, gpa, &bytes);
    check(
        thread,
        "written_by_kind",
        (range.kind, written),
        (range.kind, range.kind.is_guest_ram()),
    );
}

fn write(thread: &mut Thread, gpa: u64, data: &[u8]) -> bool {
    let request = GuestMemoryRequest::Write { gpa, data };
    let reply: Result<Done, CallError> = thread.call(Object::GuestMemory, &request);
    reply.is_ok()
}
