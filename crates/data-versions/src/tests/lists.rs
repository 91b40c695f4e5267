//! Wrong lists.

use super::data::{KERNEL, Lists, shape};
use crate::pairs::{Pair, Problem, Side, check, check_pages, find_overlap};
use proptest::prelude::*;

/// Objects of 24 bytes every 32, twins of 40 every 48, in another order.
fn right() -> Lists {
    let pairs = [(0, 3), (1, 0), (2, 4), (3, 1), (4, 2)];
    Lists::new(pairs.map(|(object, twin)| Pair {
        object: KERNEL + 32 * object,
        twin: KERNEL + 0x10_0000 + 48 * twin,
    }))
}

#[test]
fn right_lists_are_taken() {
    assert_eq!(check(&mut right(), &shape(24, 40)), Ok(()));
    assert_eq!(check(&mut right(), &shape(32, 48)), Ok(()));
    assert_eq!(check(&mut Lists::new([]), &shape(24, 40)), Ok(()));
}

#[test]
fn a_list_that_does_not_ascend_is_told_with_the_entry() {
    let mut lists = right();
    lists.by_object.swap(1, 2);
    assert_eq!(check(&mut lists, &shape(24, 40)), Err(Problem::Order(Side::Object, 2)));
    let mut lists = right();
    lists.by_twin.swap(3, 4);
    assert_eq!(check(&mut lists, &shape(24, 40)), Err(Problem::Order(Side::Twin, 4)));
    // An object twice.
    let mut lists = right();
    lists.by_object[3] = lists.by_object[2];
    assert_eq!(check(&mut lists, &shape(24, 40)), Err(Problem::Order(Side::Object, 3)));
}

#[test]
fn what_overlaps_is_told_with_the_entry() {
    assert_eq!(check(&mut right(), &shape(33, 40)), Err(Problem::Overlap(Side::Object, 1)));
    assert_eq!(check(&mut right(), &shape(24, 49)), Err(Problem::Overlap(Side::Twin, 1)));
    // A twin over the last byte of an object.
    let mut pairs: Vec<_> = right().by_object;
    pairs[0].twin = KERNEL + 64 + 23;
    let mut lists = Lists::new(pairs.clone());
    assert_eq!(check(&mut lists, &shape(24, 1)), Err(Problem::Overlap(Side::Twin, 0)));
    // Behind it.
    pairs[0].twin = KERNEL + 64 + 24;
    assert_eq!(check(&mut Lists::new(pairs), &shape(24, 1)), Ok(()));
}

#[test]
fn the_two_lists_have_the_same_pairs() {
    // Two objects have exchanged their twins in one list.
    let mut lists = right();
    let twin = lists.by_object[0].twin;
    lists.by_object[0].twin = lists.by_object[3].twin;
    lists.by_object[3].twin = twin;
    assert_eq!(check(&mut lists, &shape(24, 40)), Err(Problem::Unknown(1)));
    // An object that the other list has not, between two that it has.
    let mut lists = right();
    lists.by_twin[2].object += 1;
    assert_eq!(check(&mut lists, &shape(24, 40)), Err(Problem::Unknown(2)));
}

#[test]
fn only_the_kernels_half_is_data() {
    let start = lucos_guest_interface::registration::KERNEL_HALF_START;
    let one = |object, twin| check(&mut Lists::new([Pair { object, twin }]), &shape(16, 16));
    assert_eq!(one(start, KERNEL), Ok(()));
    assert_eq!(one(start - 1, KERNEL), Err(Problem::Range(Side::Object, 0)));
    assert_eq!(one(KERNEL, u64::MAX - 16), Ok(()));
    assert_eq!(one(KERNEL, u64::MAX - 15), Err(Problem::Range(Side::Twin, 0)));
    assert_eq!(one(KERNEL, 0x1000), Err(Problem::Range(Side::Twin, 0)));
}

fn pages_of(lists: &mut Lists, pages: &[u64], object: u32, twin: u32) -> Result<(), Problem<()>> {
    let page = |_: &mut Lists, index: u32| Ok(pages[index as usize]);
    check_pages(lists, &shape(object, twin), pages.len() as u32, page)
}

#[test]
fn every_page_is_in_the_list_of_pages() {
    let twins = KERNEL + 0x10_0000;
    let pair = |object, twin| Pair { object: KERNEL + object, twin: twins + twin };
    let mut lists = Lists::new([pair(0xff0, 0), pair(0x3000, 0xfff)]);
    let all = [KERNEL, KERNEL + 0x1000, KERNEL + 0x3000, twins, twins + 0x1000];
    assert_eq!(pages_of(&mut lists, &all, 17, 2), Ok(()));
    // One that nobody needs does no harm.
    let more: Vec<_> = all.into_iter().chain([twins + 0x9000]).collect();
    assert_eq!(pages_of(&mut lists, &more, 17, 2), Ok(()));
    let sides =
        [(Side::Object, 0), (Side::Object, 0), (Side::Object, 1), (Side::Twin, 0), (Side::Twin, 1)];
    for (missing, (side, index)) in sides.into_iter().enumerate() {
        let mut some = all.to_vec();
        some.remove(missing);
        let problem = Err(Problem::PageMissing(side, index));
        assert_eq!(pages_of(&mut lists, &some, 17, 2), problem, "{missing}");
    }
    // Without the bytes over the edge their pages are not needed.
    assert_eq!(pages_of(&mut lists, &[KERNEL, KERNEL + 0x3000, twins], 16, 1), Ok(()));
    let twice = [KERNEL, KERNEL, KERNEL + 0x1000];
    assert_eq!(pages_of(&mut lists, &twice, 17, 2), Err(Problem::PageOrder(1)));
    let not_one = [KERNEL, KERNEL + 0x1008];
    assert_eq!(pages_of(&mut lists, &not_one, 17, 2), Err(Problem::PageOrder(1)));
}

#[test]
fn a_list_that_cannot_be_read_is_no_list() {
    let mut lists = right();
    lists.broken = true;
    assert_eq!(check(&mut lists, &shape(24, 40)), Err(Problem::List(())));
}

#[test]
fn a_problem_names_list_and_entry() {
    use lucos_guest_interface::{ErrorCode, Fault};
    let told = |problem: Problem<()>| problem.fault(3);
    let at = |code, detail| Some(Fault::at(code, 3, detail));
    let twins = 1 << 32;
    assert_eq!(told(Problem::Range(Side::Twin, 7)), at(ErrorCode::DataRange, twins | 7));
    assert_eq!(told(Problem::Order(Side::Object, 7)), at(ErrorCode::PairsOrder, 7));
    assert_eq!(told(Problem::Overlap(Side::Twin, 7)), at(ErrorCode::PairsOverlap, twins | 7));
    assert_eq!(told(Problem::Unknown(7)), at(ErrorCode::PairsOrder, twins | 7));
    assert_eq!(told(Problem::PageOrder(7)), at(ErrorCode::PairsOrder, 2 << 32 | 7));
    assert_eq!(told(Problem::PageMissing(Side::Object, 7)), at(ErrorCode::PairsOrder, 7));
    assert_eq!(told(Problem::List(())), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    /// The check finds exactly what a look at every two pairs finds.
    #[test]
    fn the_check_is_what_it_says(
        objects in prop::collection::vec((0_u64..64, 64_u64..128), 0..6),
        swap in prop::option::of((0_usize..6, 0_usize..6)),
        object in 1_u32..6,
        twin in 1_u32..6,
    ) {
        let pairs: Vec<_> = objects
            .into_iter()
            .map(|(object, twin)| Pair { object: KERNEL + object, twin: KERNEL + twin })
            .collect();
        let mut lists = Lists::new(pairs.clone());
        if let Some((one, other)) = swap
            && one.max(other) < pairs.len()
        {
            lists.by_twin.swap(one, other);
        }
        let shape = shape(object, twin);
        let mut ranges: Vec<_> = pairs
            .iter()
            .flat_map(|pair| Side::BOTH.map(|side| shape.range(side, pair)))
            .collect();
        ranges.sort_by_key(|range| range.start);
        let apart = ranges.windows(2).all(|two| two[0].end <= two[1].start);
        let sorted = Lists::new(pairs).by_twin == lists.by_twin;
        prop_assert_eq!(check(&mut lists, &shape).is_ok(), apart && sorted);
    }

    #[test]
    fn an_overlap_of_two_lists_is_found(
        ones in prop::collection::btree_set(0_u64..40, 0..5),
        others in prop::collection::btree_set(0_u64..40, 0..5),
        size in 1_u32..4,
        other_size in 1_u32..4,
    ) {
        // Those of one list are apart from each other.
        let apart = |set: std::collections::BTreeSet<u64>| {
            Lists::new(set.into_iter().map(|place| {
                Pair { object: KERNEL + 4 * place, twin: KERNEL + 0x1000 + 4 * place }
            }))
        };
        let (mut ones, mut others) = (apart(ones), apart(others));
        for other in &mut others.by_object {
            other.object += 2;
        }
        let (one_shape, other_shape) = (shape(size, 1), shape(other_size, 1));
        let naive = ones.by_object.iter().enumerate().flat_map(|(one, first)| {
            let first = one_shape.range(Side::Object, first);
            others.by_object.iter().enumerate().filter_map(move |(other, second)| {
                let second = other_shape.range(Side::Object, second);
                let common = first.start < second.end && second.start < first.end;
                common.then_some([one as u32, other as u32])
            })
        }).min();
        let found = find_overlap(
            (&mut ones, &one_shape, Side::Object),
            (&mut others, &other_shape, Side::Object),
        );
        prop_assert_eq!(found, Ok(naive));
    }
}
