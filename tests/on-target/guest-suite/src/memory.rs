//! What may be read and written of each range of the memory map.

use lucos_abi::object::{GuestMemoryReply, GuestMemoryRequest, View};
use lucos_runtime::{GuestWindow, Object, Thread, system_info};
use lucos_system_info::{MemoryKind, MemoryRange};

use crate::guest;
use crate::report::check;

const WIDTH: u64 = 8;
const PAGE: u64 = 4096;

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

/// Nested tables that a change leaves without use come back, however many there are.
pub fn check_tables(thread: &mut Thread) {
    const REGION: u64 = 2 << 20;
    const REGIONS: u64 = 100;
    // If only as many as 64 came back each time, this would take all of LUCOS's memory.
    const ROUNDS: u64 = 80;
    let mut done = 0;
    for _ in 0..ROUNDS {
        let parts = (0..REGIONS)
            .try_for_each(|number| guest::set(thread, View::Main, number * REGION, PAGE, false));
        let whole = guest::set(thread, View::Main, 0, REGIONS * REGION, true);
        done += u64::from(parts.is_ok() && whole.is_ok());
    }
    check(thread, "tables_come_back", done, ROUNDS);
}

/// Far blocks leave room for guards, and a guard can end when they have taken all the rest.
pub fn check_reserve(thread: &mut Thread) {
    const BLOCK: u64 = 2 << 20;
    const FAR: u64 = 1 << 39;
    const MANY: u64 = 4096;
    let given = (0..MANY).take_while(|number| {
        guest::set(thread, View::Main, FAR + (number << 30), BLOCK, true).is_ok()
    });
    let blocks = given.count() as u64;
    check(thread, "far_blocks_come_to_an_end", blocks < MANY, true);
    let mut guards = 0;
    for number in 0..256 {
        let page = number * BLOCK;
        let on = guest::set(thread, View::Main, page, PAGE, false).is_ok();
        guards += u64::from(on && guest::set(thread, View::Confined, page, PAGE, true).is_ok());
    }
    check(thread, "guards_have_room", guards, 256);
    let off = guest::set(thread, View::Main, 0, PAGE, true);
    check(thread, "a_guard_can_end", off, Ok(()));
    for (view, start, length) in [
        (View::Main, FAR, blocks << 30),
        (View::Main, 0, 256 * BLOCK),
        (View::Confined, 0, 256 * BLOCK),
    ] {
        let gone = guest::unmap(thread, view, start, length);
        check(thread, "tables_are_given_back", gone, Ok(()));
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
