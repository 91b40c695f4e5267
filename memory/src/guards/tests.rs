use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::fake::Fake;

const CARRIED: GuardKind = GuardKind::Carried;
const SEALED: GuardKind = GuardKind::Sealed;

fn list(machine: &Fake) -> Vec<(u64, Kinds), 2048> {
    all(machine).map(|guard| (guard.page, guard.kinds)).collect()
}

/// Pages of one region each.
fn far_apart(count: usize) -> impl Iterator<Item = u64> {
    (0..count as u64).map(|number| number * REGION)
}

fn add_all(
    machine: &mut Fake,
    pages: impl Iterator<Item = u64>,
    kind: GuardKind,
) -> Result<(), MemoryError> {
    let pages: std::vec::Vec<u64> = pages.collect();
    for pages in pages.chunks(MAX_GUARD_REQUEST) {
        add(machine, pages, kind)?;
    }
    Ok(())
}

#[test]
fn there_are_no_more_pages_than_fit() {
    let mut machine = Fake::new();
    let pages = |count: u64| (0..count).map(|number| number * PAGE);
    add_all(&mut machine, pages(MAX_GUARDS as u64), CARRIED).unwrap();
    let before = list(&machine);
    assert_eq!(add(&mut machine, &[1 << 40], SEALED), Err(MemoryError::TooManyPages));
    assert_eq!(list(&machine), before);
    // Pages that are there can have another kind.
    assert_eq!(add(&mut machine, &[0x5000], SEALED).unwrap(), [0x5000]);
    assert_eq!(all(&machine).count(), MAX_GUARDS);
    remove(&mut machine, &[0x5000, 0x6000], CARRIED).unwrap();
    assert_eq!(all(&machine).count(), MAX_GUARDS - 1, "the other kind stays");
    assert_eq!(add(&mut machine, &[1 << 40], SEALED).unwrap(), [1 << 40]);
}

#[test]
fn they_lie_in_no_more_regions_than_have_tables() {
    let mut machine = Fake::new();
    add_all(&mut machine, far_apart(MAX_GUARD_REGIONS), CARRIED).unwrap();
    let beyond = MAX_GUARD_REGIONS as u64 * REGION;
    assert_eq!(add(&mut machine, &[beyond], CARRIED), Err(MemoryError::TooManyPages));
    assert_eq!(add(&mut machine, &[PAGE], CARRIED).unwrap(), [PAGE], "in a region that has them");
    remove(&mut machine, &[7 * REGION], CARRIED).unwrap();
    assert_eq!(add(&mut machine, &[beyond], CARRIED).unwrap(), [beyond]);
}

#[test]
fn a_request_that_does_not_fit_adds_nothing() {
    let mut machine = Fake::new();
    add_all(&mut machine, far_apart(MAX_GUARD_REGIONS - 1), CARRIED).unwrap();
    let before = list(&machine);
    let two = [PAGE, (MAX_GUARD_REGIONS as u64) << 21, (MAX_GUARD_REGIONS as u64 + 1) << 21];
    assert_eq!(add(&mut machine, &two, SEALED), Err(MemoryError::TooManyPages));
    assert_eq!(list(&machine), before);
}

#[test]
fn a_change_that_is_cut_off_leaves_the_list_or_makes_the_new_one() {
    let pages = [0x3000, 0x5000, 0xffff_f000];
    for cut in 0..64 {
        let mut machine = Fake::new();
        add(&mut machine, &[0x1000, 0x5000], CARRIED).unwrap();
        let before = list(&machine);
        let mut done = machine.journal.clone();
        machine.journal_writes_left = Some(cut);
        let result = add(&mut machine, &pages, SEALED);
        machine.journal_writes_left = None;
        if result.is_err() {
            assert_eq!(list(&machine), before, "cut after {cut} bytes");
            assert_eq!(add(&mut machine, &pages, SEALED).unwrap(), pages);
        }
        std::mem::swap(&mut done, &mut machine.journal);
        assert_eq!(list(&machine), before);
        std::mem::swap(&mut done, &mut machine.journal);
        let found: std::vec::Vec<u64> = all(&machine).map(|guard| guard.page).collect();
        assert_eq!(found, [0x1000, 0x3000, 0x5000, 0xffff_f000]);
    }
}

#[test]
fn the_highest_page_of_a_processor_fits_in_an_entry() {
    let mut machine = Fake::new();
    let highest = (1 << 52) - PAGE;
    add(&mut machine, &[highest], SEALED).unwrap();
    assert_eq!(next(&machine, 0).map(|guard| guard.page), Some(highest));
    assert!(kinds(&machine, highest).contains(SEALED));
    assert_eq!(next(&machine, highest + 1), None);
}

fn kind() -> impl Strategy<Value = GuardKind> {
    prop_oneof![Just(GuardKind::Stores), Just(CARRIED), Just(SEALED), Just(GuardKind::Provided),]
}

proptest! {
    #[test]
    fn the_list_says_what_was_asked_for(
        steps in prop::collection::vec(
            (kind(), any::<bool>(), prop::collection::btree_set(0..40_u64, 0..12)),
            1..20,
        ),
    ) {
        let mut machine = Fake::new();
        let mut model: BTreeMap<u64, Kinds> = BTreeMap::new();
        for (kind, on, numbers) in steps {
            let pages: std::vec::Vec<u64> = numbers.iter().map(|number| number << 20).collect();
            let changed = match on {
                true => add(&mut machine, &pages, kind),
                false => remove(&mut machine, &pages, kind),
            }
            .unwrap();
            for page in pages {
                let kinds = model.entry(page).or_default();
                prop_assert_eq!(changed.contains(&page), kinds.contains(kind) != on);
                *kinds = if on { kinds.with(kind) } else { kinds.without(kind) };
            }
            model.retain(|_, kinds| *kinds != Kinds::NONE);
            let found = list(&machine);
            let expected: std::vec::Vec<_> = model.iter().map(|(&page, &kinds)| (page, kinds)).collect();
            prop_assert_eq!(&found[..], &expected[..]);
            for page in (0..42).map(|number| number << 20) {
                let expected = model.get(&page).copied().unwrap_or_default();
                prop_assert_eq!(super::kinds(&machine, page), expected);
                let following = model.range(page..).next().map(|(&page, _)| page);
                prop_assert_eq!(next(&machine, page).map(|guard| guard.page), following);
            }
        }
    }
}
