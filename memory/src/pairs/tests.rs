use lucos_service::{AddressSpace, MemoryError, PairCopy};
use proptest::prelude::*;

use super::*;
use crate::fake::{self, Fake, REGION, SPACE};

/// Where what is, guest-virtual: pages that lie in another order in memory.
const LIST: u64 = 0x10_0000;
const STAGE: u64 = 0x20_0000;
const OBJECTS: u64 = 0x30_0000;
const TWINS: u64 = 0x40_0000;
const AREA_PAGES: u64 = 16;

fn machine() -> Fake {
    let mut machine = Fake::new();
    for (number, area) in [LIST, STAGE, OBJECTS, TWINS].into_iter().enumerate() {
        for page in 0..AREA_PAGES {
            let gpa = 0x100_0000 + (number as u64 * AREA_PAGES + (page ^ 1)) * PAGE;
            // What the guest maps read-only is written all the same.
            machine.map_page(area + page * PAGE, gpa, false);
        }
    }
    machine
}

fn put(machine: &mut Fake, address: u64, bytes: &[u8]) {
    for (offset, byte) in bytes.iter().enumerate() {
        let gpa = place(machine, address + offset as u64);
        machine.put(gpa, &[*byte]);
    }
}

fn place(machine: &mut Fake, address: u64) -> u64 {
    let info = fake::info();
    translate::page(machine, &fake::map(&info), SPACE, address).unwrap().gpa
}

fn get(machine: &mut Fake, address: u64, length: usize) -> std::vec::Vec<u8> {
    let address = |offset| address + offset as u64;
    (0..length)
        .map(|offset| {
            let gpa = place(machine, address(offset));
            machine.bytes(gpa, 1)[0]
        })
        .collect()
}

fn copy(machine: &mut Fake, copy: &PairCopy) -> Result<(), MemoryError> {
    let info = fake::info();
    super::copy(machine, &fake::map(&info), SPACE, copy)
}

/// Objects `gap` bytes apart, twins in a row.
fn pairs(machine: &mut Fake, count: u32, gap: u64, size: u64) {
    for number in 0..u64::from(count) {
        let (object, twin) = (OBJECTS + 100 + number * gap, TWINS + 4 + number * size);
        put(machine, LIST + number * 16, &object.to_le_bytes());
        put(machine, LIST + number * 16 + 8, &twin.to_le_bytes());
    }
}

#[test]
fn each_half_of_the_stage_goes_to_its_side() {
    for (size, gap, count) in [(4_u32, 24, 700), (40, 300, 90), (4096, 5000, 5), (1, 1, 1)] {
        for (to_twins, second) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut machine = machine();
            pairs(&mut machine, count, gap, size.into());
            let step = 2 * size + 8;
            let count = count.min(AREA_PAGES as u32 * 4096 / step);
            let stage: std::vec::Vec<u8> =
                (0..count * step).map(|number| (number % 251) as u8).collect();
            put(&mut machine, STAGE, &stage);
            let offset = if second { size } else { 0 };
            let request =
                PairCopy { pairs: LIST, count, stage: STAGE, step, offset, size, to_twins };
            for _ in 0..2 {
                copy(&mut machine, &request).unwrap();
            }
            for number in 0..u64::from(count) {
                let at = (number * u64::from(step) + u64::from(offset)) as usize;
                let expected = &stage[at..at + size as usize];
                let target = match to_twins {
                    true => TWINS + 4 + number * u64::from(size),
                    false => OBJECTS + 100 + number * gap,
                };
                assert_eq!(get(&mut machine, target, size as usize), expected, "{number}");
            }
        }
    }
}

#[test]
fn what_lies_in_a_row_is_written_in_few_messages() {
    let mut machine = machine();
    pairs(&mut machine, 1000, 64, 16);
    let request = PairCopy {
        pairs: LIST,
        count: 1000,
        stage: STAGE,
        step: 32,
        offset: 16,
        size: 16,
        to_twins: true,
    };
    machine.writes = 0;
    copy(&mut machine, &request).unwrap();
    // 16,000 bytes of 2,048 each, and the ends of four pages.
    assert!(machine.writes <= 14, "{} messages", machine.writes);
}

#[test]
fn wrong_lists_and_sizes_are_errors() {
    let mut machine = machine();
    pairs(&mut machine, 4, 64, 16);
    let request = PairCopy {
        pairs: LIST,
        count: 4,
        stage: STAGE,
        step: 32,
        offset: 0,
        size: 16,
        to_twins: true,
    };
    let missing = |address| Err(MemoryError::NotMapped { address });
    let behind = STAGE + AREA_PAGES * PAGE;
    for (request, result) in [
        (PairCopy { size: 4097, ..request }, Err(MemoryError::TooLong)),
        (PairCopy { size: u32::MAX, ..request }, Err(MemoryError::TooLong)),
        (PairCopy { pairs: 0x50_0000, ..request }, missing(0x50_0000)),
        (PairCopy { stage: behind - 16, ..request }, missing(behind)),
        (PairCopy { step: u32::MAX, count: u32::MAX, ..request }, missing(0x1_001f_f000)),
        (PairCopy { stage: 1 << 47, ..request }, Err(MemoryError::BadAddress)),
        (
            PairCopy { pairs: u64::MAX - 7, ..request },
            Err(MemoryError::NotMapped { address: !0xfff }),
        ),
        (PairCopy { count: 0, pairs: 1 << 47, ..request }, Ok(())),
        (PairCopy { size: 0, ..request }, Ok(())),
    ] {
        assert_eq!(copy(&mut machine, &request), result, "{request:x?}");
    }
    put(&mut machine, LIST + 24, &u64::MAX.to_le_bytes());
    assert!(copy(&mut machine, &request).is_err(), "a twin that is nowhere");
    // Or at the end of all addresses, which is mapped.
    let last = 0xffff_ffff_ffff_f000;
    machine.map_page(last, 0x50_0000, true);
    put(&mut machine, LIST + 24, &(u64::MAX - 3).to_le_bytes());
    assert_eq!(copy(&mut machine, &request), Err(MemoryError::BadAddress));
    machine.map_page(TWINS, REGION, true);
    assert_eq!(copy(&mut machine, &request), Err(MemoryError::NotRam { gpa: REGION }));
}

fn publish(machine: &mut Fake, from: u64, to: u64, length: u32) -> Result<(), MemoryError> {
    let info = fake::info();
    super::publish(machine, &fake::map(&info), SPACE, from, to, length)
}

#[test]
fn only_words_that_differ_are_published() {
    let mut machine = machine();
    let old: std::vec::Vec<u8> = (0..64).collect();
    put(&mut machine, OBJECTS + 4, &old);
    let mut new = old.clone();
    (new[1], new[20], new[21], new[63]) = (0xee, 0xee, 0xee, 0xee);
    put(&mut machine, STAGE + 3, &new);
    machine.log_writes = Some(std::vec::Vec::new());
    publish(&mut machine, STAGE + 3, OBJECTS + 4, 64).unwrap();
    let target = place(&mut machine, OBJECTS);
    let writes = machine.log_writes.take().unwrap();
    let expected = [
        (target + 4, new[..4].to_vec()),
        (target + 24, new[20..28].to_vec()),
        (target + 64, new[60..].to_vec()),
    ];
    assert_eq!(writes, expected);
    assert_eq!(get(&mut machine, OBJECTS + 4, 64), new);
}

#[test]
fn what_is_published_over_a_border_arrives_on_both_pages() {
    let mut machine = machine();
    put(&mut machine, STAGE, &[7; 4096]);
    publish(&mut machine, STAGE, OBJECTS + 0xffd, 4096).unwrap();
    assert_eq!(get(&mut machine, OBJECTS + 0xffc, 4098), {
        let mut all = vec![7; 4098];
        (all[0], all[4097]) = (0, 0);
        all
    });
    assert_eq!(publish(&mut machine, STAGE, OBJECTS, 4097), Err(MemoryError::TooLong));
    let missing = Err(MemoryError::NotMapped { address: 0x50_0000 });
    assert_eq!(publish(&mut machine, STAGE, 0x50_0000 - 8, 0), Ok(()));
    assert_eq!(publish(&mut machine, STAGE, 0x50_0000, 8), missing);
}

#[test]
fn zeros_fill_a_range_and_no_more() {
    let mut machine = machine();
    put(&mut machine, STAGE, &vec![0xff; 5 * 4096]);
    let info = fake::info();
    let map = fake::map(&info);
    zero(&mut machine, &map, SPACE, STAGE + 10, 3 * 4096).unwrap();
    let after = get(&mut machine, STAGE, 5 * 4096);
    assert!(after[10..10 + 3 * 4096].iter().all(|byte| *byte == 0));
    assert_eq!(after.iter().filter(|byte| **byte == 0xff).count(), 2 * 4096);
    zero(&mut machine, &map, SPACE, 0, 0).unwrap();
    let wraps = zero(&mut machine, &map, SPACE, u64::MAX, 2);
    assert_eq!(wraps, Err(MemoryError::BadAddress));
}

proptest! {
    #[test]
    fn no_numbers_break_the_task(
        pairs: u64, count in 0..1000_u32, stage: u64, step: u32, offset: u32, size: u32, to_twins: bool,
        root: u64, address: u64, length: u64,
    ) {
        let mut machine = machine();
        let info = fake::info();
        let map = fake::map(&info);
        let request = PairCopy { pairs, count, stage, step, offset, size: size % 5000, to_twins };
        for space in [SPACE, AddressSpace { root, five_levels: true }] {
            let _ = super::copy(&mut machine, &map, space, &request);
            let _ = super::publish(&mut machine, &map, space, stage, pairs, size);
            let _ = zero(&mut machine, &map, space, address, length);
        }
    }

    #[test]
    fn what_is_published_is_there(
        from in 0..64_u64, to in 0..8192_u64, old in prop::collection::vec(any::<u8>(), 1..200),
        flips in prop::collection::vec((0..200_usize, any::<u8>()), 0..10),
    ) {
        let mut machine = machine();
        let mut new = old.clone();
        for (at, byte) in flips {
            let length = new.len();
            new[at % length] ^= byte;
        }
        put(&mut machine, OBJECTS + to, &old);
        put(&mut machine, STAGE + from, &new);
        publish(&mut machine, STAGE + from, OBJECTS + to, old.len() as u32).unwrap();
        prop_assert_eq!(get(&mut machine, OBJECTS + to, old.len()), new);
    }
}
