//! The editor against a model that remembers every range it was told.

mod walk;

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use crate::format::level_size;
use crate::{
    Change, ENTRIES, Format, MapError, Mapping, PAGE, PageSize, PageTable, Rights, TableMemory,
};
use walk::Leaf;

/// Tables in a map, with a limited number of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frames {
    tables: HashMap<u64, Vec<u64>>,
    next: u64,
    limit: usize,
}

impl Frames {
    fn new(limit: usize) -> Self {
        let mut frames = Self { tables: HashMap::new(), next: 0x100_0000, limit };
        frames.allocate().expect("room for the root");
        frames
    }

    fn snapshot(&self) -> BTreeMap<u64, Vec<u64>> {
        self.tables.clone().into_iter().collect()
    }
}

impl TableMemory for Frames {
    fn read(&self, table: u64, index: usize) -> u64 {
        self.tables[&table][index]
    }

    fn write(&mut self, table: u64, index: usize, entry: u64) {
        self.tables.get_mut(&table).expect("a table in use")[index] = entry;
    }

    fn available(&self) -> u64 {
        (self.limit - self.tables.len()) as u64
    }

    fn allocate(&mut self) -> Option<u64> {
        if self.tables.len() >= self.limit {
            return None;
        }
        let frame = self.next;
        self.next += PAGE;
        self.tables.insert(frame, vec![0; ENTRIES]);
        Some(frame)
    }

    fn free(&mut self, table: u64) {
        self.tables.remove(&table).expect("freed once");
    }
}

const ROOT: u64 = 0x100_0000;

fn table(format: Format, largest: PageSize) -> PageTable {
    PageTable { format, root: ROOT, largest }
}

fn mapping(virt: u64, phys: u64, length: u64, rights: Rights) -> Mapping {
    Mapping { virt, phys, length, rights }
}

/// Where tables that can be reached lie.
fn reachable(memory: &Frames, table: u64, level: u8, found: &mut HashSet<u64>) {
    assert!(found.insert(table), "a table is used twice");
    for entry in &memory.tables[&table] {
        if level > 1 && entry & 1 != 0 && entry & 0x80 == 0 {
            reachable(memory, entry & 0x000f_ffff_ffff_f000, level - 1, found);
        }
    }
}

fn assert_no_leak(memory: &Frames) {
    let mut found = HashSet::new();
    reachable(memory, ROOT, 4, &mut found);
    assert_eq!(found, memory.tables.keys().copied().collect());
}

/// What the tables should say: the last range that covers a page decides.
#[derive(Clone, Debug, Default)]
struct Model {
    ranges: Vec<Mapping>,
}

impl Model {
    fn page(&self, virt: u64) -> Option<(u64, Rights)> {
        let covers = |range: &&Mapping| virt >= range.virt && virt - range.virt < range.length;
        let range = self.ranges.iter().rev().find(covers)?;
        range.rights.read.then(|| (range.phys + (virt - range.virt), range.rights))
    }

    /// Addresses at which the answer of `page` may change its rule.
    fn borders(&self) -> Vec<u64> {
        let mut borders: Vec<u64> = self
            .ranges
            .iter()
            .flat_map(|range| [range.virt, range.virt.wrapping_add(range.length)])
            .collect();
        borders.sort_unstable();
        borders.dedup();
        borders
    }

    /// All mapped stretches with one rule each, joined as far as possible.
    fn stretches(&self) -> Vec<Leaf> {
        let borders = self.borders();
        let pairs = borders.iter().zip(borders.iter().skip(1));
        join(pairs.filter_map(|(&begin, &end)| {
            self.page(begin).map(|(phys, rights)| Leaf {
                virt: begin,
                phys,
                size: end - begin,
                rights,
            })
        }))
    }
}

fn join(leaves: impl Iterator<Item = Leaf>) -> Vec<Leaf> {
    let mut joined: Vec<Leaf> = Vec::new();
    for leaf in leaves {
        match joined.last_mut() {
            Some(last)
                if last.virt.wrapping_add(last.size) == leaf.virt
                    && last.phys + last.size == leaf.phys
                    && last.rights == leaf.rights =>
            {
                last.size += leaf.size;
            }
            _ => joined.push(leaf),
        }
    }
    joined
}

/// Whether somebody who could do something before the edit can no longer do it in the same place.
fn something_is_lost(before: &Model, after: &Model) -> bool {
    after.borders().into_iter().any(|virt| match (before.page(virt), after.page(virt)) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some((old, had)), Some((new, has))) => {
            old != new
                || had.write && !has.write
                || had.execute && !has.execute
                || had.user && !has.user
                || had.uncached != has.uncached
        }
    })
}

fn rights() -> impl Strategy<Value = Rights> {
    any::<[bool; 5]>().prop_map(|[read, write, execute, user, uncached]| match read {
        false => Rights::NONE,
        true => Rights { read, write, execute, user, uncached },
    })
}

/// Multiples of the page size around the borders of large and huge pages.
fn address() -> impl Strategy<Value = u64> {
    (0..3u64, 0..3u64, 0..3u64).prop_map(|(huge, large, small)| {
        huge * PageSize::Huge.bytes() + large * PageSize::Large.bytes() + small * PAGE
    })
}

#[derive(Clone, Debug)]
struct Step {
    mapping: Mapping,
}

fn step(upper: bool) -> impl Strategy<Value = Step> {
    let congruent = prop_oneof![Just(0), Just(PageSize::Large.bytes()), Just(3 * PAGE)];
    (address(), congruent, address(), rights()).prop_map(move |(virt, shift, length, rights)| {
        // Many small pages take long and show nothing that a few do not.
        let small = shift < PageSize::Large.bytes();
        let length = length % if small { PageSize::Huge.bytes() } else { u64::MAX };
        let half = if upper { 0xffff_8000_0000_0000 } else { 0 };
        let mapping = mapping(half + virt, virt + shift, length, rights);
        Step { mapping }
    })
}

fn run(format: Format, largest: PageSize, frames: usize, steps: &[Step]) {
    let table = table(format, largest);
    let mut memory = Frames::new(frames);
    let mut model = Model::default();
    for step in steps {
        let mut asked = step.mapping;
        asked.rights.user &= format == Format::LongMode;
        let before = memory.snapshot();
        let mut next = model.clone();
        next.ranges.push(asked);
        match table.set(&mut memory, asked) {
            Ok(change) => {
                if something_is_lost(&model, &next) {
                    assert!(change.flush, "a flush is missing after {asked:x?}");
                }
                model = next;
            }
            Err(error) => {
                assert_eq!(memory.snapshot(), before, "a failed edit changed something");
                assert_eq!(error, MapError::OutOfFrames);
            }
        }
        assert_no_leak(&memory);
        assert_eq!(join(table.leaves(&memory)), model.stretches());
        for leaf in table.leaves(&memory) {
            assert!(leaf.size <= largest.bytes());
            assert_eq!(leaf.virt % leaf.size, 0);
            assert_eq!(leaf.phys % leaf.size, 0);
        }
        for virt in model.borders() {
            let walked = table.walk(&memory, virt);
            let found = walked.map(|leaf| (leaf.physical(virt), leaf.rights));
            assert_eq!(found, model.page(virt));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn tables_say_what_the_last_edit_said(
        steps in prop::collection::vec(step(false), 1..12),
        format in prop_oneof![
            Just(Format::LongMode), Just(Format::AmdNested), Just(Format::IntelEpt)
        ],
        largest in prop_oneof![Just(PageSize::Large), Just(PageSize::Huge)],
        frames in prop_oneof![Just(100_000usize), 1..14usize],
    ) {
        run(format, largest, frames, &steps);
    }

    #[test]
    fn the_upper_half_is_no_different(steps in prop::collection::vec(step(true), 1..6)) {
        run(Format::LongMode, PageSize::Huge, 1000, &steps);
    }
}

#[test]
fn large_pages_are_used_where_they_fit() {
    let huge = PageSize::Huge.bytes();
    let everything = mapping(0, 0, 1024 * huge, Rights::ALL);
    let mut memory = Frames::new(8);
    let nested = table(Format::AmdNested, PageSize::Huge);
    nested.set(&mut memory, everything).expect("room");
    assert_eq!(memory.tables.len(), 3);
    assert_eq!(nested.leaves(&memory).count(), 1024);
}

#[test]
fn a_page_is_cut_out_of_a_huge_page_and_merged_again() {
    let huge = PageSize::Huge.bytes();
    let mut memory = Frames::new(16);
    let nested = table(Format::AmdNested, PageSize::Huge);
    let all = mapping(0, 0, 4 * huge, Rights::ALL);
    nested.set(&mut memory, all).expect("room");
    let whole = memory.snapshot();

    let guarded = mapping(huge + 5 * PAGE, huge + 5 * PAGE, PAGE, Rights::READ_EXECUTE);
    assert_eq!(nested.set(&mut memory, guarded), Ok(Change { flush: true }));
    let leaf = nested.walk(&memory, huge + 5 * PAGE).expect("mapped");
    assert_eq!((leaf.size, leaf.rights.write), (PAGE, false));
    let neighbour = nested.walk(&memory, huge + 6 * PAGE).expect("mapped");
    assert_eq!(neighbour.physical(huge + 6 * PAGE + 7), huge + 6 * PAGE + 7);
    assert_eq!(neighbour.rights, Rights::ALL);

    let again = Mapping { rights: Rights::ALL, ..guarded };
    assert_eq!(
        nested.set(&mut memory, again),
        Ok(Change { flush: false }),
        "nothing was taken away"
    );
    assert_eq!(nested.set(&mut memory, all), Ok(Change { flush: true }));
    assert_eq!(memory.snapshot(), whole);
}

proptest! {
    #[test]
    fn all_to_one_is_the_same_as_page_by_page(start in 0_u64..2000, pages in 0_u64..2000) {
        let whole = mapping(0, 0, 8 << 20, Rights::READ_WRITE);
        let ones = mapping(start * PAGE, 0x70_0000, pages * PAGE, Rights::READ);
        let table = table(Format::AmdNested, PageSize::Large);
        let [mut at_once, mut each] = [Frames::new(99), Frames::new(99)];
        table.set(&mut at_once, whole).expect("in range");
        table.set(&mut each, whole).expect("in range");
        let change = table.set_all_to_one(&mut at_once, ones).expect("in range");
        for page in start..start + pages {
            let one = Mapping { virt: page * PAGE, length: PAGE, ..ones };
            table.set(&mut each, one).expect("in range");
        }
        let leaves = |frames| table.leaves(frames).collect::<Vec<_>>();
        prop_assert_eq!(leaves(&at_once), leaves(&each));
        prop_assert_eq!(change.flush, start < 2048 && pages > 0);
        prop_assert!(!table.set_all_to_one(&mut at_once, ones).expect("in range").flush);
    }
}

#[test]
fn setting_what_is_set_changes_nothing() {
    let mut memory = Frames::new(8);
    let nested = table(Format::IntelEpt, PageSize::Huge);
    let all = mapping(0, 0, PageSize::Huge.bytes(), Rights::ALL);
    nested.set(&mut memory, all).expect("room");
    let before = memory.snapshot();
    let part = mapping(7 * PAGE, 7 * PAGE, 9 * PAGE, Rights::ALL);
    assert_eq!(nested.set(&mut memory, part), Ok(Change { flush: false }));
    assert_eq!(memory.snapshot(), before);
}

#[test]
fn bad_ranges_are_refused() {
    let mut memory = Frames::new(8);
    let long = table(Format::LongMode, PageSize::Huge);
    let nested = table(Format::AmdNested, PageSize::Huge);
    let mut check = |table: &PageTable, virt, phys, length, expected| {
        let asked = mapping(virt, phys, length, Rights::READ);
        assert_eq!(table.set(&mut memory, asked), Err(expected));
        assert_eq!(memory.tables.len(), 1);
    };
    check(&long, 1, 0, PAGE, MapError::Misaligned);
    check(&long, 0, 1, PAGE, MapError::Misaligned);
    check(&long, 0, 0, PAGE - 1, MapError::Misaligned);
    let top = level_size(5) / 2;
    check(&long, top, 0, PAGE, MapError::OutOfRange);
    check(&long, top - PAGE, 0, 2 * PAGE, MapError::OutOfRange);
    check(&long, !0 << 47, 0, 1 << 48, MapError::OutOfRange);
    check(&long, !0 << 12, 0, 2 * PAGE, MapError::OutOfRange);
    check(&nested, level_size(5), 0, PAGE, MapError::OutOfRange);
    check(&nested, level_size(5) - PAGE, 0, 2 * PAGE, MapError::OutOfRange);
    check(&long, 0, 1 << 52, PAGE, MapError::OutOfRange);
    check(&long, 0, !0 << 12, 2 * PAGE, MapError::OutOfRange);

    let last = mapping(!0 << 12, 0, PAGE, Rights::READ);
    assert_eq!(long.set(&mut memory, last), Ok(Change::default()));
    assert!(long.walk(&memory, !0).is_some());
    assert!(long.walk(&memory, (1 << 48) - 1).is_none(), "not canonical");
    let nothing = mapping(0, 0, 0, Rights::ALL);
    assert_eq!(long.set(&mut memory, nothing), Ok(Change::default()));
}

#[test]
fn enough_frames_are_enough_and_too_few_change_nothing() {
    // 1 TiB by pages of 2 MiB: 1,024 tables of these, two above; two small ones for ends.
    let tib = mapping(0, 0, 1 << 40, Rights::ALL);
    let large = table(Format::AmdNested, PageSize::Large);
    let mut memory = Frames::new(1028);
    let before = memory.snapshot();
    assert_eq!(large.set(&mut memory, tib), Err(MapError::OutOfFrames));
    assert_eq!(memory.snapshot(), before);
    memory.limit += 1;
    assert_eq!(large.set(&mut memory, tib), Ok(Change { flush: false }));
    // One page asks for three, whether or not the tables are there.
    let page = Mapping { length: PAGE, ..tib };
    for (limit, expected) in [(2, Err(MapError::OutOfFrames)), (3, Ok(Change { flush: false }))] {
        memory.limit = memory.tables.len() + limit;
        assert_eq!(large.set(&mut memory, page), expected);
    }
}

#[test]
fn entries_are_those_of_the_manuals() {
    let all = Rights::ALL.user();
    let cases = [
        (Format::LongMode, all, 1, 0x5067),
        (Format::LongMode, Rights::READ, 1, 0x8000_0000_0000_5061),
        (Format::LongMode, Rights::READ_EXECUTE, 2, 0x50e1),
        (Format::AmdNested, Rights::READ, 1, 0x8000_0000_0000_5065),
        (Format::IntelEpt, all, 1, 0x5037),
        (Format::IntelEpt, Rights::READ_WRITE, 2, 0x50b3),
        (Format::IntelEpt, Rights::READ_EXECUTE, 1, 0x5035),
    ];
    for (format, rights, level, expected) in cases {
        assert_eq!(format.leaf(0x5000, rights, level), expected, "{format:?}");
    }
    let device = Rights { uncached: true, ..Rights::READ_WRITE };
    let long = Format::LongMode.leaf(0x5000, device, 1);
    assert_eq!(long, 0x8000_0000_0000_507b);
    assert_eq!(Format::IntelEpt.leaf(0x5000, device, 1), 0x5003);
    assert_eq!(Format::LongMode.leaf(0x5000, Rights::NONE, 1), 0);
    assert_eq!(Format::LongMode.table(0x5000), 0x5027);
    assert_eq!(Format::IntelEpt.table(0x5000), 0x5007);
}
