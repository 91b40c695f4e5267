use lucos_service::{GuardKind, MemoryError};

use super::*;
use crate::fake::{self, AREA, Fake, HIGH, REGION};
use crate::space;

/// A page of the guest that is carried, and where copies go.
const PAGES: [u64; 5] = [0x20_0000, 0x20_1000, 0x40_0000, HIGH, HIGH + 0x5000];
const COPIES: u64 = 0x60_0000;
/// Of a device.
const DEVICE: u64 = 0xfee0_0000;

fn copy(number: u64) -> u64 {
    COPIES + number * PAGE
}

fn machine() -> Fake {
    let mut machine = Fake::new();
    let info = fake::info();
    let map = fake::map(&info);
    space::start(&mut machine, &map).unwrap();
    space::guard(&mut machine, &map, GuardKind::Carried, &PAGES).unwrap();
    let copies: Vec<u64> = (0..5).map(copy).collect();
    space::guard(&mut machine, &map, GuardKind::Sealed, &copies).unwrap();
    machine
}

fn open(machine: &mut Fake, gpa: u64, copy: u64) -> Result<(), MemoryError> {
    let info = fake::info();
    super::open(machine, &fake::map(&info), gpa, copy)
}

fn changed(machine: &mut Fake, gpa: u64) -> Vec<usize> {
    let changes = changes(machine, gpa).unwrap();
    let next = |offset: &usize| changes.next(offset + 1);
    std::iter::successors(changes.next(0), next).collect()
}

#[test]
fn the_guests_memory_is_shown_and_nothing_else() {
    let machine = machine();
    for (gpa, rights) in [
        (0, Some(Rights::ReadExecute)),
        (AREA - PAGE, Some(Rights::ReadExecute)),
        (HIGH, Some(Rights::ReadExecute)),
        (0xe_0000, None),
        (DEVICE, None),
        (HIGH + (1 << 30), None),
    ] {
        assert_eq!(machine.rights(View::Confined, gpa), rights, "{gpa:#x}");
    }
}

#[test]
fn what_a_write_changes_is_seen_until_the_page_is_closed() {
    let mut machine = machine();
    machine.put(PAGES[0], &[1, 2, 3, 4]);
    open(&mut machine, PAGES[0] + 0x123, copy(0)).unwrap();
    assert_eq!(machine.rights(View::Confined, PAGES[0]), Some(Rights::All));
    assert_eq!(machine.rights(View::Main, PAGES[0]), Some(Rights::ReadExecute), "for others");
    assert_eq!(changed(&mut machine, PAGES[0]), []);
    machine.put(PAGES[0] + 1, &[9, 3]);
    machine.put(PAGES[0] + 0xfff, &[7]);
    assert_eq!(changed(&mut machine, PAGES[0] + 8), [1, 0xfff]);
    // To open it again does not lose what it was.
    open(&mut machine, PAGES[0], copy(1)).unwrap();
    assert_eq!(changed(&mut machine, PAGES[0]), [1, 0xfff]);
    close(&mut machine).unwrap();
    assert_eq!(machine.rights(View::Confined, PAGES[0]), Some(Rights::ReadExecute));
    assert_eq!(changed(&mut machine, PAGES[0]), [], "of a page that is not open");
}

#[test]
fn four_pages_can_be_open() {
    let mut machine = machine();
    for (page, number) in PAGES.into_iter().zip(0..4) {
        open(&mut machine, page, copy(number)).unwrap();
    }
    assert_eq!(open(&mut machine, PAGES[4], copy(4)), Err(MemoryError::TooManyPages));
    close(&mut machine).unwrap();
    open(&mut machine, PAGES[4], copy(4)).unwrap();
}

#[test]
fn an_open_page_is_found_after_a_restart() {
    let mut machine = machine();
    open(&mut machine, PAGES[2], copy(0)).unwrap();
    machine.put(PAGES[2] + 8, &[1]);
    // All that the task knows is in retained memory. What it does first changes nothing.
    let info = fake::info();
    space::start(&mut machine, &fake::map(&info)).unwrap();
    prepare(&mut machine, &fake::map(&info)).unwrap();
    assert_eq!(machine.rights(View::Confined, PAGES[2]), Some(Rights::All));
    assert_eq!(changed(&mut machine, PAGES[2]), [8]);
    close(&mut machine).unwrap();
    assert_eq!(machine.rights(View::Confined, PAGES[2]), Some(Rights::ReadExecute));
}

#[test]
fn an_opening_that_is_cut_off_has_happened_or_not() {
    for cut in 0..20 {
        let mut machine = machine();
        machine.put(PAGES[0], &[5]);
        machine.journal_writes_left = Some(cut);
        let opened = open(&mut machine, PAGES[0], copy(0));
        machine.journal_writes_left = None;
        if opened.is_err() {
            let rights = machine.rights(View::Confined, PAGES[0]);
            assert_eq!(rights, Some(Rights::ReadExecute), "cut after {cut} bytes");
            open(&mut machine, PAGES[0], copy(0)).unwrap();
        }
        machine.put(PAGES[0], &[6]);
        assert_eq!(changed(&mut machine, PAGES[0]), [0]);
    }
}

#[test]
fn what_must_not_be_written_is_not_opened() {
    let mut machine = machine();
    let info = fake::info();
    let provided = [0x70_0000];
    space::guard(&mut machine, &fake::map(&info), GuardKind::Provided, &provided).unwrap();
    for gpa in [copy(1), provided[0]] {
        let result = open(&mut machine, gpa, copy(0));
        assert_eq!(result, Err(MemoryError::ReadOnly { address: gpa }));
    }
    for gpa in [REGION, 1 << 40] {
        assert_eq!(open(&mut machine, gpa, copy(0)), Err(MemoryError::NotRam { gpa }));
    }
    // The copy has to be where the guest cannot change it, and on a page of its own.
    for place in [PAGES[1], 0x50_0000, copy(0) + 8] {
        assert_eq!(open(&mut machine, PAGES[0], place), Err(MemoryError::BadAddress));
    }
    open(&mut machine, PAGES[0], copy(0)).unwrap();
    assert_eq!(open(&mut machine, PAGES[1], copy(0)), Err(MemoryError::BadAddress));
}

#[test]
fn a_page_without_room_for_tables_stays_closed() {
    let mut machine = machine();
    machine.longest_set = 0;
    assert_eq!(open(&mut machine, PAGES[0], copy(0)), Err(MemoryError::NoRoom));
    machine.longest_set = u64::MAX;
    assert_eq!(all(&machine).count(), 0);
}

#[test]
fn a_devices_page_is_read_only_and_goes_again() {
    let mut machine = machine();
    open(&mut machine, DEVICE + 0x20, copy(0)).unwrap();
    assert_eq!(machine.rights(View::Confined, DEVICE), Some(Rights::ReadExecute));
    assert_eq!(machine.bytes(copy(0), 8), [0; 8], "reading a device may have effects");
    assert_eq!(changed(&mut machine, DEVICE), []);
    close(&mut machine).unwrap();
    assert_eq!(machine.rights(View::Confined, DEVICE), None);
}

#[test]
fn page_tables_are_opened_for_good_but_not_guarded_ones() {
    let mut machine = machine();
    let info = fake::info();
    let map = fake::map(&info);
    open_table(&mut machine, &map, 0x30_0ff8).unwrap();
    close(&mut machine).unwrap();
    assert_eq!(machine.rights(View::Confined, 0x30_0000), Some(Rights::All));
    for gpa in [PAGES[0], copy(0)] {
        let result = open_table(&mut machine, &map, gpa);
        assert_eq!(result, Err(MemoryError::ReadOnly { address: gpa }));
    }
    let result = open_table(&mut machine, &map, DEVICE);
    assert_eq!(result, Err(MemoryError::NotRam { gpa: DEVICE }));
    // One that is to be carried from now on.
    space::guard(&mut machine, &map, GuardKind::Carried, &[0x30_0000]).unwrap();
    assert_eq!(machine.rights(View::Confined, 0x30_0000), Some(Rights::ReadExecute));
}
