use lucos_abi::object::Access;
use lucos_service::{FaultVerdict, GuardKind, MAX_GUARD_REQUEST, MemoryError};

use super::{guard, release, release_all, start};
use crate::confined;
use crate::fake::{self, AREA, Fake, HIGH, REGION};
use crate::platform::{Refused, Rights, View};
use crate::{PAGE, guards, retained};

const TIB: u64 = 1 << 40;

const READ: Access =
    Access { write: false, execute: false, present: true, table_walk: false, delivery: false };
const WRITE: Access = Access { write: true, ..READ };
const FETCH: Access = Access { execute: true, ..READ };
/// Processors write to the tables that they walk.
const WALK: Access = Access { table_walk: true, ..WRITE };

const KINDS: [GuardKind; 4] =
    [GuardKind::Stores, GuardKind::Carried, GuardKind::Sealed, GuardKind::Provided];

fn machine() -> Fake {
    let mut machine = Fake::new();
    let info = fake::info();
    start(&mut machine, &fake::map(&info)).unwrap();
    machine
}

fn on(machine: &mut Fake, kind: GuardKind, pages: &[u64]) -> Result<(), MemoryError> {
    let info = fake::info();
    guard(machine, &fake::map(&info), kind, pages)
}

fn off(machine: &mut Fake, kind: GuardKind, pages: &[u64]) -> Result<(), MemoryError> {
    let info = fake::info();
    release(machine, &fake::map(&info), kind, pages)
}

fn fault(
    machine: &mut Fake,
    gpa: u64,
    access: Access,
    view: View,
) -> Result<FaultVerdict, MemoryError> {
    let info = fake::info();
    super::fault(machine, &fake::map(&info), gpa, access, view)
}

#[test]
fn everything_up_to_1_tib_is_mapped_once() {
    let mut machine = machine();
    assert_eq!(machine.sets, [(View::Main, 0, TIB, Rights::All)]);
    let info = fake::info();
    assert_eq!(start(&mut machine, &fake::map(&info)), Ok(40));
    assert_eq!(machine.sets.len(), 1, "not again after a restart");
}

#[test]
fn less_is_mapped_when_page_tables_are_scarce_but_never_less_than_memory() {
    let info = fake::info();
    let map = fake::map(&info);
    let mut machine = Fake::new();
    machine.longest_set = 1 << 34;
    assert_eq!(start(&mut machine, &map), Ok(34));
    let mut machine = Fake::new();
    // Memory ends at HIGH + 1 GiB, below 8 GiB.
    machine.longest_set = 1 << 32;
    assert_eq!(start(&mut machine, &map), Err(Refused::NoRoom));
    assert_eq!(machine.refused_sets.last().map(|set| set.2), Some(1 << 33));
}

#[test]
fn small_machines_are_mapped_to_their_end() {
    let mut info = fake::info();
    info.physical_bits = 36;
    let map = fake::map(&info);
    let mut machine = Fake::new();
    assert_eq!(start(&mut machine, &map), Ok(36));
    let verdict = super::fault(&mut machine, &map, 1 << 36, WRITE, View::Main);
    assert_eq!(verdict, Ok(FaultVerdict::Outside));
}

#[test]
fn far_blocks_are_mapped_when_they_are_touched() {
    let mut info = fake::info();
    info.physical_bits = 48;
    let map = fake::map(&info);
    let mut machine = Fake::new();
    start(&mut machine, &map).unwrap();
    let touch = |machine: &mut Fake, gpa| super::fault(machine, &map, gpa, WRITE, View::Main);
    let device = 0x80_1234_5678_9000 >> 8;
    assert_eq!(touch(&mut machine, device), Ok(FaultVerdict::Mended));
    let block = device & !((1 << 30) - 1);
    assert_eq!(machine.sets.last(), Some(&(View::Main, block, 1 << 30, Rights::All)));

    machine.longest_set = 2 << 20;
    let other = device + TIB;
    touch(&mut machine, other).unwrap();
    let expected = (View::Main, other & !0x1f_ffff, 2 << 20, Rights::All);
    assert_eq!(machine.sets.last(), Some(&expected));

    machine.longest_set = 0;
    assert_eq!(touch(&mut machine, device + 2 * TIB), Err(MemoryError::NoRoom));
}

#[test]
fn a_block_is_mapped_around_the_guards_in_it() {
    let mut info = fake::info();
    info.physical_bits = 48;
    let map = fake::map(&info);
    let mut machine = Fake::new();
    start(&mut machine, &map).unwrap();
    let block = 5 * TIB;
    let pages = [block, block + 0x5000, block + 0x6000, block + (1 << 30) - PAGE];
    guard(&mut machine, &map, GuardKind::Carried, &pages).unwrap();
    let before = machine.sets.len();
    super::fault(&mut machine, &map, block + 0x8000, WRITE, View::Main).unwrap();
    assert!(machine.sets[before..].iter().all(|set| set.3 == Rights::All));
    for page in pages {
        assert_eq!(machine.rights(View::Main, page), Some(Rights::ReadExecute));
    }
    for gpa in [block + PAGE, block + 0x7000, block + (1 << 30) - 2 * PAGE] {
        assert_eq!(machine.rights(View::Main, gpa), Some(Rights::All));
    }
    // At no time could a guarded page be written.
    let is_on = |page: u64, set: &(View, u64, u64, Rights)| (set.1..set.1 + set.2).contains(&page);
    let given = &machine.sets[before..];
    assert!(!pages.iter().any(|page| given.iter().any(|set| is_on(*page, set))));
}

#[test]
fn lucos_is_hidden_from_writes_and_fetches() {
    for view in [View::Main, View::Confined] {
        let mut machine = machine();
        let mut verdict = |gpa, access| fault(&mut machine, gpa, access, view);
        assert_eq!(verdict(REGION, WRITE), Ok(FaultVerdict::Hidden));
        assert_eq!(verdict(REGION + 0x7f_ffff, FETCH), Ok(FaultVerdict::Hidden));
        assert_eq!(verdict(REGION, READ), Ok(FaultVerdict::Mended));
        assert_eq!(retained::hidden_accesses(&machine), 2);
    }
}

#[test]
fn guarded_pages_are_read_only_until_they_are_released() {
    let verdicts =
        [FaultVerdict::Guarded, FaultVerdict::Carried, FaultVerdict::Sealed, FaultVerdict::Sealed];
    for (kind, expected) in KINDS.into_iter().zip(verdicts) {
        let mut machine = machine();
        // In any order, with any address in the page, and once too often.
        on(&mut machine, kind, &[AREA + 0x1123, AREA, AREA + 0x1000, HIGH]).unwrap();
        for gpa in [AREA, AREA + 0x1000, HIGH] {
            assert_eq!(machine.rights(View::Main, gpa), Some(Rights::ReadExecute));
            assert_eq!(fault(&mut machine, gpa + 8, WRITE, View::Main), Ok(expected));
            assert_eq!(fault(&mut machine, gpa + 8, WALK, View::Main), Ok(expected));
            // Another processor may be between two changes.
            assert_eq!(fault(&mut machine, gpa, READ, View::Main), Ok(FaultVerdict::Mended));
        }
        assert_eq!(machine.rights(View::Main, AREA + 0x2000), Some(Rights::All));
        for _ in 0..2 {
            off(&mut machine, kind, &[HIGH, AREA]).unwrap();
        }
        assert_eq!(machine.rights(View::Main, AREA), Some(Rights::All));
        let verdict = fault(&mut machine, AREA, WRITE, View::Main);
        assert_eq!(verdict, Ok(FaultVerdict::Mended));
        let verdict = fault(&mut machine, AREA + 0x1000, WRITE, View::Main);
        assert_eq!(verdict, Ok(expected));
    }
}

#[test]
fn a_page_stays_guarded_until_its_last_guard_ends() {
    let mut machine = machine();
    on(&mut machine, GuardKind::Carried, &[AREA]).unwrap();
    on(&mut machine, GuardKind::Sealed, &[AREA]).unwrap();
    // The stricter one decides.
    assert_eq!(fault(&mut machine, AREA, WRITE, View::Main), Ok(FaultVerdict::Sealed));
    off(&mut machine, GuardKind::Sealed, &[AREA]).unwrap();
    assert_eq!(machine.rights(View::Main, AREA), Some(Rights::ReadExecute));
    assert_eq!(fault(&mut machine, AREA, WRITE, View::Main), Ok(FaultVerdict::Carried));
    off(&mut machine, GuardKind::Carried, &[AREA]).unwrap();
    assert_eq!(machine.rights(View::Main, AREA), Some(Rights::All));
}

#[test]
fn a_provided_page_is_written_in_the_confined_view_alone() {
    let mut machine = machine();
    on(&mut machine, GuardKind::Provided, &[AREA]).unwrap();
    assert_eq!(machine.rights(View::Confined, AREA), Some(Rights::All));
    assert_eq!(machine.rights(View::Main, AREA), Some(Rights::ReadExecute));
    for kind in [GuardKind::Stores, GuardKind::Carried, GuardKind::Sealed] {
        let result = on(&mut machine, kind, &[AREA + PAGE, AREA]);
        assert_eq!(result, Err(MemoryError::OtherGuard { gpa: AREA }));
        on(&mut machine, kind, &[AREA + 2 * PAGE]).unwrap();
        let result = on(&mut machine, GuardKind::Provided, &[AREA + 2 * PAGE]);
        assert_eq!(result, Err(MemoryError::OtherGuard { gpa: AREA + 2 * PAGE }));
    }
    assert_eq!(machine.rights(View::Main, AREA + PAGE), Some(Rights::All));
    off(&mut machine, GuardKind::Provided, &[AREA]).unwrap();
    assert_eq!(machine.rights(View::Confined, AREA), Some(Rights::ReadExecute));
    assert_eq!(machine.rights(View::Main, AREA), Some(Rights::All));
}

#[test]
fn only_the_guests_memory_can_be_guarded() {
    for kind in KINDS {
        let mut machine = machine();
        for gpa in [REGION, 1 << 40, 0xfee0_0000] {
            let result = on(&mut machine, kind, &[HIGH, gpa]);
            assert_eq!(result, Err(MemoryError::NotRam { gpa }));
        }
        machine.longest_set = 0;
        assert_eq!(on(&mut machine, kind, &[HIGH]), Err(MemoryError::NoRoom));
        assert_eq!(guards::all(&machine).count(), 0);
    }
}

#[test]
fn what_cannot_be_guarded_as_a_whole_is_not_guarded() {
    let mut machine = machine();
    confined::prepare(&mut machine, &fake::map(&fake::info())).unwrap();
    on(&mut machine, GuardKind::Carried, &[AREA]).unwrap();
    // One page fits, two in a row do not.
    machine.longest_set = PAGE;
    let result = on(&mut machine, GuardKind::Carried, &[AREA, HIGH, HIGH + 0x2000, HIGH + 0x3000]);
    assert_eq!(result, Err(MemoryError::NoRoom));
    assert_eq!(machine.rights(View::Main, HIGH), Some(Rights::All));
    assert_eq!(machine.rights(View::Main, AREA), Some(Rights::ReadExecute), "it was before");
    let left: Vec<u64> = guards::all(&machine).map(|guard| guard.page).collect();
    assert_eq!(left, [AREA]);
}

#[test]
fn a_request_that_a_restart_cut_off_is_made_again() {
    let pages = [AREA, AREA + PAGE, HIGH];
    for cut in 0..48 {
        let mut machine = machine();
        confined::prepare(&mut machine, &fake::map(&fake::info())).unwrap();
        machine.journal_writes_left = Some(cut);
        let _ = on(&mut machine, GuardKind::Carried, &pages);
        machine.journal_writes_left = None;
        on(&mut machine, GuardKind::Carried, &pages).unwrap();
        for page in pages {
            assert_eq!(machine.rights(View::Main, page), Some(Rights::ReadExecute));
        }
        machine.journal_writes_left = Some(cut);
        let _ = off(&mut machine, GuardKind::Carried, &pages);
        machine.journal_writes_left = None;
        // Whatever has less than all rights is in the list.
        for page in pages {
            let listed = guards::all(&machine).any(|guard| guard.page == page);
            assert!(listed || machine.rights(View::Main, page) == Some(Rights::All));
        }
        off(&mut machine, GuardKind::Carried, &pages).unwrap();
        assert_eq!(guards::all(&machine).count(), 0);
        assert_eq!(machine.rights(View::Main, HIGH), Some(Rights::All));
    }
}

#[test]
fn everything_ends_but_what_is_stored_by_another() {
    let mut machine = machine();
    on(&mut machine, GuardKind::Stores, &[AREA]).unwrap();
    let pages: Vec<u64> = (0..600).map(|number| HIGH + number * PAGE).collect();
    for pages in pages.chunks(MAX_GUARD_REQUEST) {
        on(&mut machine, GuardKind::Carried, pages).unwrap();
    }
    on(&mut machine, GuardKind::Sealed, &[AREA, HIGH, 0x9000]).unwrap();
    on(&mut machine, GuardKind::Provided, &[0x5000]).unwrap();
    let info = fake::info();
    confined::open(&mut machine, &fake::map(&info), HIGH + PAGE, HIGH).unwrap_err();
    confined::open(&mut machine, &fake::map(&info), HIGH + PAGE, 0x9000).unwrap();
    release_all(&mut machine).unwrap();
    let left: Vec<u64> = guards::all(&machine).map(|guard| guard.page).collect();
    assert_eq!(left, [AREA]);
    assert_eq!(fault(&mut machine, AREA, WRITE, View::Main), Ok(FaultVerdict::Guarded));
    for page in pages {
        assert_eq!(machine.rights(View::Main, page), Some(Rights::All));
    }
    // The confined view is made anew when it is used again.
    on(&mut machine, GuardKind::Sealed, &[0x7000]).unwrap();
    for gpa in [HIGH + PAGE, 0x5000] {
        assert_eq!(machine.rights(View::Confined, gpa), Some(Rights::ReadExecute));
    }
}

#[test]
fn faults_of_a_step_tell_what_has_to_be_opened() {
    let mut machine = machine();
    on(&mut machine, GuardKind::Carried, &[HIGH]).unwrap();
    on(&mut machine, GuardKind::Sealed, &[HIGH + PAGE]).unwrap();
    let device = 0xfee0_0000;
    for (gpa, access, verdict) in [
        (HIGH, WRITE, FaultVerdict::Carried),
        (HIGH, WALK, FaultVerdict::Carried),
        (HIGH + PAGE, WRITE, FaultVerdict::Sealed),
        (0x5000, WRITE, FaultVerdict::Carried),
        (0x5000, WALK, FaultVerdict::Table),
        (device, READ, FaultVerdict::Carried),
        (1 << 41, READ, FaultVerdict::Outside),
    ] {
        assert_eq!(fault(&mut machine, gpa, access, View::Confined), Ok(verdict), "{gpa:#x}");
    }
    // Memory that was added since is shown when it is read.
    let added = HIGH + (3 << 30);
    assert_eq!(machine.rights(View::Confined, added), None);
    let verdict = fault(&mut machine, added + 8, READ, View::Confined);
    assert_eq!(verdict, Ok(FaultVerdict::Mended));
    assert_eq!(machine.rights(View::Confined, added), Some(Rights::ReadExecute));
}
