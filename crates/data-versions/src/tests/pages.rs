//! The index of guarded pages.

use crate::VersionId;
use crate::pages::{Mapping, PAGES_MAX, Pages, REGION, REGIONS_MAX, TooManyPages};

fn mapping(gpa: u64, patch: u32) -> Mapping {
    Mapping { gpa, version: VersionId { patch, version: 0 }, address: 0xffff_8880_0000_0000 | gpa }
}

#[test]
fn a_page_can_belong_to_several_versions() {
    let mut pages = Pages::<8>::new();
    for new in [mapping(0x2000, 2), mapping(0x1000, 1), mapping(0x2000, 1), mapping(0x3000, 2)] {
        pages.insert(new).unwrap();
        pages.insert(new).unwrap();
    }
    let alias = Mapping { address: 0xffff_c900_0000_0000, ..mapping(0x3000, 2) };
    pages.insert(alias).unwrap();
    assert_eq!(pages.at(0x2000), [mapping(0x2000, 1), mapping(0x2000, 2)]);
    assert_eq!(pages.at(0x3000), [mapping(0x3000, 2), alias]);
    assert_eq!(pages.at(0x4000), []);
    assert!(pages.is_guarded(0x1fff) && !pages.is_guarded(0x4000));
    assert_eq!(pages.guarded().collect::<Vec<_>>(), [0x1000, 0x2000, 0x3000]);
    let two = VersionId { patch: 2, version: 0 };
    assert_eq!(pages.only_of(two).collect::<Vec<_>>(), [0x3000]);
    let one = VersionId { patch: 1, version: 0 };
    assert_eq!(pages.next_version(&[0x2000, 0x3000], None), Some(one));
    assert_eq!(pages.next_version(&[0x2000, 0x3000], Some(one)), Some(two));
    assert_eq!(pages.next_version(&[0x2000, 0x3000], Some(two)), None);
    pages.remove(two);
    assert_eq!(pages.guarded().collect::<Vec<_>>(), [0x1000, 0x2000]);
}

#[test]
fn pages_and_regions_have_a_limit() {
    let mut pages = Pages::<2000>::new();
    for page in 0..PAGES_MAX as u64 {
        pages.insert(mapping(page << 12, 1)).unwrap();
    }
    assert_eq!(pages.insert(mapping(1 << 40, 1)), Err(TooManyPages));
    // A page that is guarded anyhow needs none of the room.
    pages.insert(mapping(0x5000, 2)).unwrap();
    assert_eq!(pages.guarded().count(), PAGES_MAX);

    let mut pages = Pages::<2000>::new();
    for region in 0..REGIONS_MAX as u64 {
        pages.insert(mapping(region * REGION, 1)).unwrap();
    }
    assert_eq!(pages.insert(mapping(REGIONS_MAX as u64 * REGION, 1)), Err(TooManyPages));
    pages.insert(mapping(5 * REGION + 0x1000, 1)).unwrap();
    assert_eq!(pages.guarded().count(), REGIONS_MAX + 1);

    let mut pages = Pages::<1>::new();
    pages.insert(mapping(0, 1)).unwrap();
    assert_eq!(pages.insert(mapping(0, 2)), Err(TooManyPages));
    assert_eq!(pages.at(0).len(), 1);
}
