//! What may be read and written of each range of the memory map.

use lucos_abi::object::{GuestMemoryReply, GuestMemoryRequest};
use lucos_runtime::{GuestWindow, Object, Thread, system_info};
use lucos_system_info::{MemoryKind, MemoryRange};

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
    let far = 1 << info.physical_bits;
    for gpa in [far - WIDTH / 2, far, u64::MAX - WIDTH / 2, info.region.end() - WIDTH / 2] {
        let written = write(thread, gpa, &[0; WIDTH as usize]);
        check(thread, "what_is_not_the_guests_is_refused", written, false);
        let copied = copy(thread, gpa, info.nvs.start) || copy(thread, info.nvs.start, gpa);
        check(thread, "what_is_not_the_guests_is_not_copied", copied, false);
    }
}

/// The guest may use everything but the region as memory, whatever the map says. What may be a
/// device is left alone here.
fn look_at(thread: &mut Thread, window: &GuestWindow, range: &MemoryRange, gpa: u64) {
    let mut bytes = [0; WIDTH as usize];
    let in_window = window.read(gpa, &mut bytes).is_ok();
    let readable = range.kind.is_readable();
    check(thread, "in_the_window_by_kind", (range.kind, in_window), (range.kind, readable));
    let guests = range.kind != MemoryKind::Region;
    let is_device = matches!(range.kind, MemoryKind::Reserved);
    if is_device {
        return;
    }
    let read = read(thread, gpa, &mut bytes);
    check(thread, "read_by_kind", (range.kind, read), (range.kind, guests));
    let written = write(thread, gpa, &bytes);
    check(thread, "written_by_kind", (range.kind, written), (range.kind, guests));
    let copied = copy(thread, gpa, gpa);
    check(thread, "copied_by_kind", (range.kind, copied), (range.kind, guests));
}

fn read(thread: &mut Thread, gpa: u64, bytes: &mut [u8]) -> bool {
    let request = GuestMemoryRequest::Read { gpa, length: bytes.len() as u32 };
    match thread.call(Object::GuestMemory, &request) {
        Ok(GuestMemoryReply::Bytes { bytes: read }) if read.len() == bytes.len() => {
            bytes.copy_from_slice(read);
            true
        }
        _ => false,
    }
}

fn write(thread: &mut Thread, gpa: u64, data: &[u8]) -> bool {
    let request = GuestMemoryRequest::Write { gpa, data };
    matches!(thread.call(Object::GuestMemory, &request), Ok(GuestMemoryReply::Done))
}

fn copy(thread: &mut Thread, from: u64, to: u64) -> bool {
    let request = GuestMemoryRequest::Copy { from, to, length: WIDTH };
    matches!(thread.call(Object::GuestMemory, &request), Ok(GuestMemoryReply::Done))
}
