//! Lookups against a look at every pair.

use super::data::{KERNEL, Lists, shape};
use crate::changes::Changes;
use crate::pages::{Mapping, Pages};
use crate::pairs::{Pair, Shape, SharedField, Side, at, touching};
use crate::touched::{ChangedPage, Cursor, Search, Touched};
use crate::{PAGE, VersionId};
use proptest::prelude::*;

const VERSION: VersionId = VersionId { patch: 7, version: 1 };
/// Where the twins are.
const TWINS: u64 = KERNEL + 0x4000;

/// Pairs in three pages of objects and three of twins, in any order, nothing over another.
fn pairs(object: u32, twin: u32) -> impl Strategy<Value = Lists> {
    let places = |size: u32| {
        let most = 3 * PAGE as u32 / size.max(16);
        prop::collection::btree_set(0..most, 0..40)
            .prop_map(move |set| set.into_iter().map(|place| place * size.max(16)).collect())
    };
    let twins = places(twin).prop_map(|set: Vec<u32>| set).prop_shuffle();
    (places(object), twins).prop_map(move |(objects, twins): (Vec<u32>, Vec<u32>)| {
        Lists::new(objects.into_iter().zip(twins).map(|(object, twin)| Pair {
            object: KERNEL + u64::from(object),
            twin: TWINS + u64::from(twin),
        }))
    })
}

fn sized() -> impl Strategy<Value = (u32, u32, Lists)> {
    let size = || prop_oneof![1_u32..40, Just(4096), 500_u32..5000];
    (size(), size()).prop_flat_map(|(object, twin)| (Just(object), Just(twin), pairs(object, twin)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_pair_is_found_by_each_of_its_bytes(
        (object, twin, mut lists) in sized(),
        offset in 0..3 * PAGE as u64,
    ) {
        let shape = shape(object, twin);
        for (side, start) in [(Side::Object, KERNEL), (Side::Twin, TWINS)] {
            let address = start + offset;
            let list = if side == Side::Object { &lists.by_object } else { &lists.by_twin };
            let naive = list.iter().position(|pair| shape.range(side, pair).contains(&address));
            let naive = naive.map(|index| (index as u32, list[index]));
            prop_assert_eq!(at(&mut lists, &shape, side, address), Ok(naive));
        }
    }

    #[test]
    fn pairs_are_found_by_range(
        (object, twin, mut lists) in sized(),
        offset in 0..3 * PAGE as u64,
        length in 1..5000_u64,
    ) {
        let shape = shape(object, twin);
        for (side, start) in [(Side::Object, KERNEL), (Side::Twin, TWINS)] {
            let range = start + offset..start + offset + length;
            let list = if side == Side::Object { &lists.by_object } else { &lists.by_twin };
            let naive: Vec<_> = (0..list.len() as u32).filter(|&index| {
                let pair = shape.range(side, &list[index as usize]);
                pair.start < range.end && range.start < pair.end
            }).collect();
            let found = touching(&mut lists, &shape, side, range).unwrap();
            prop_assert_eq!(found.collect::<Vec<_>>(), naive);
        }
    }

    /// Any changed bytes of four pages, two of which are one page at two addresses.
    #[test]
    fn touched_pairs_are_those_with_changed_bytes(
        (object, twin, mut lists) in sized(),
        shared in prop::collection::vec((0_u32..40, 0_u32..40, 1_u32..8), 0..2),
        changed in prop::collection::vec(
            (0..4_usize, prop_oneof![0..PAGE, 0..64_usize], 1_usize..20), 0..6,
        ),
    ) {
        let shared: Vec<_> = shared.into_iter().map(|(old, new, size)| SharedField {
            object_offset: old,
            twin_offset: new,
            size }).collect();
        let shape = Shape { object, twin, shared: &shared };
        // Physical pages 0 to 2 are the objects', 3 and 4 the twins', whose third page is page 0.
        let mut index = Pages::<16>::new();
        for page in 0..6_u64 {
            let start = if page < 3 { KERNEL } else { TWINS - 0x3000 };
            let mapping = Mapping {
                gpa: page % 5 * PAGE as u64,
                version: VERSION,
                address: start + page * PAGE as u64,
            };
            index.insert(mapping).unwrap();
            // Another version on the same pages is none of ours.
            let version = VersionId { patch: 1, version: 1 };
            index.insert(Mapping { version, address: KERNEL, ..mapping }).unwrap();
        }
        let gpas = [0, 0x2000, 0x3000, 0x4000];
        let mut changes = [Changes::NONE; 4];
        for (page, offset, length) in changed {
            (offset..(offset + length).min(PAGE)).for_each(|byte| changes[page].set(byte));
        }
        let pages: Vec<_> = gpas
            .into_iter()
            .zip(&changes)
            .map(|(gpa, changes)| ChangedPage { gpa, changes })
            .collect();

        let is_changed = |address: u64| {
            let mapping = (0..16).find_map(|page| {
                let mut mappings = index.at(page * PAGE as u64).iter();
                mappings.find(|mapping| {
                    mapping.version == VERSION && mapping.address / 4096 == address / 4096
                })
            });
            mapping.is_some_and(|mapping| {
                let page = pages.iter().find(|page| page.gpa == mapping.gpa);
                let offset = (address % 4096) as usize;
                page.is_some_and(|page| page.changes.next(offset) == Some(offset))
            })
        };
        let side_changed = |side: Side, pair: &Pair| {
            let range = shape.range(side, pair);
            let mut offsets = 0..range.end - range.start;
            offsets.any(|at| is_changed(range.start + at) && !shape.is_shared(side, at))
        };
        let touched = |pair: &Pair, from| Touched { version: VERSION, pair: *pair, from };
        let objects = lists.by_object.iter().filter(|pair| side_changed(Side::Object, pair));
        let objects = objects.map(|pair| match side_changed(Side::Twin, pair) {
            true => touched(pair, Side::Twin),
            false => touched(pair, Side::Object),
        });
        let twins = lists.by_twin.iter().filter(|pair| {
            side_changed(Side::Twin, pair) && !side_changed(Side::Object, pair)
        });
        let naive: Vec<_> = objects.chain(twins.map(|pair| touched(pair, Side::Twin))).collect();

        let search = Search::new(VERSION, shape, &index, &pages);
        let mut cursor = Cursor::default();
        let mut found = Vec::new();
        while let Some(touched) = search.next(&mut lists, &mut cursor).unwrap() {
            found.push(touched);
            prop_assert!(found.len() <= 200);
        }
        prop_assert_eq!(found, naive);
    }

    #[test]
    fn changes_are_the_differing_bytes(
        bytes in prop::collection::vec((0..PAGE, any::<u8>()), 0..40),
        from in 0..PAGE + 2,
    ) {
        let copy = [0x55; PAGE];
        let mut page = copy;
        for (offset, byte) in bytes {
            page[offset] = byte;
        }
        let changes = Changes::between(&page, &copy);
        let naive = (from..PAGE).find(|&offset| page[offset] != copy[offset]);
        prop_assert_eq!(changes.next(from), naive);
        prop_assert_eq!(changes.is_empty(), page == copy);
        prop_assert_eq!(Changes::from_bytes(&changes.to_bytes()), changes);
    }

    /// A guest's list that is anything at all ends a search all the same.
    #[test]
    fn a_search_ends_on_any_list(
        pairs in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20),
        near in any::<bool>(),
        changed in prop::collection::vec(0..PAGE, 1..40),
    ) {
        let pair = |(object, twin): (u64, u64)| match near {
            true => Pair { object: KERNEL + object % 8192, twin: KERNEL + twin % 8192 },
            false => Pair { object, twin },
        };
        let by_object: Vec<_> = pairs.iter().copied().map(pair).collect();
        let mut lists = Lists { by_twin: by_object.clone(), by_object, broken: false };
        let mut index = Pages::<4>::new();
        let mapping = Mapping { gpa: 0, version: VERSION, address: KERNEL };
        index.insert(mapping).unwrap();
        let mut changes = Changes::NONE;
        changed.into_iter().for_each(|byte| changes.set(byte));
        let pages = [ChangedPage { gpa: 0, changes: &changes }];
        let search = Search::new(VERSION, shape(24, 40), &index, &pages);
        let mut cursor = Cursor::default();
        let mut found = 0;
        while search.next(&mut lists, &mut cursor).unwrap().is_some() {
            found += 1;
            prop_assert!(found <= 2 * pairs.len());
        }
    }
}

#[test]
fn a_search_of_an_unreadable_list_says_so() {
    let mut lists = Lists::new([Pair { object: KERNEL, twin: TWINS }]);
    lists.broken = true;
    assert_eq!(at(&mut lists, &shape(1, 1), Side::Object, KERNEL), Err(()));
}

#[test]
fn a_pair_is_two_words_of_the_guests_list() {
    let mut bytes = [0; Pair::SIZE];
    bytes[..8].copy_from_slice(&KERNEL.to_le_bytes());
    bytes[8..].copy_from_slice(&TWINS.to_le_bytes());
    assert_eq!(Pair::from_bytes(bytes), Pair { object: KERNEL, twin: TWINS });
}
