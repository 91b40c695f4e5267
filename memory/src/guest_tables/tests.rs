//! The walk of tables made by somebody else.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{GuestPage, GuestWalkError, guest_walk};

const PRESENT_ALL: u64 = 7;
const NX: u64 = 1 << 63;

/// Sparse memory of eight-byte words.
#[derive(Default)]
struct Words(HashMap<u64, u64>);

impl Words {
    fn walk(
        &self,
        root: u64,
        five_levels: bool,
        address: u64,
    ) -> Result<GuestPage, GuestWalkError> {
        let mut reads = 0;
        let read = |gpa: u64| {
            reads += 1;
            assert_eq!(gpa % 8, 0);
            assert!(reads <= 5);
            self.0.get(&gpa).copied()
        };
        guest_walk(read, root, five_levels, address)
    }

    /// Tables at 0x1000, 0x2000, ... from the top down to `level`, whose entry is `leaf`.
    fn chain(top: u8, level: u8, address: u64, leaf: u64) -> Self {
        let mut words = Self::default();
        let mut table = 0x1000;
        for at in (level..=top).rev() {
            let slot = table + (address >> (3 + 9 * u32::from(at)) & 511) * 8;
            let entry = if at == level { leaf } else { (table + 0x1000) | PRESENT_ALL };
            words.0.insert(slot, entry);
            table += 0x1000;
        }
        words
    }
}

const KERNEL: u64 = 0xffff_ffff_8123_4567;

#[test]
fn pages_of_all_sizes() {
    for (level, mask) in [(1, 0xfffu64), (2, 0x1f_ffff), (3, 0x3fff_ffff)] {
        let large = if level > 1 { 0x80 } else { 0 };
        for top in [4, 5] {
            let base = 0x12_3400_0000_0000 & 0x000f_ffff_ffff_f000 & !mask;
            let words = Words::chain(top, level, KERNEL, base | PRESENT_ALL | large);
            let page = words.walk(0x1fff, top == 5, KERNEL).expect("mapped");
            assert_eq!(page.gpa, base + (KERNEL & mask));
            assert_eq!(page.size, mask + 1);
            assert!(page.writable && page.user && !page.no_execute);
        }
    }
}

#[test]
fn rights_are_those_of_all_levels() {
    for level in 1..=4u8 {
        for (bit, expected) in [(2, [false, true, false]), (4, [true, false, false])] {
            let mut words = Words::chain(4, 1, KERNEL, 0x9000 | PRESENT_ALL);
            let table = u64::from(5 - level) * 0x1000;
            let slot = table + (KERNEL >> (3 + 9 * u32::from(level)) & 511) * 8;
            *words.0.get_mut(&slot).expect("an entry") &= !bit;
            let page = words.walk(0x1000, false, KERNEL).expect("mapped");
            assert_eq!([page.writable, page.user, page.no_execute], expected);
            *words.0.get_mut(&slot).expect("an entry") |= NX;
            let page = words.walk(0x1000, false, KERNEL).expect("mapped");
            assert!(page.no_execute);
        }
    }
}

#[test]
fn failures_name_the_level() {
    for level in 1..=4u8 {
        let words = Words::chain(4, level, KERNEL, 0);
        let error = words.walk(0x1000, false, KERNEL);
        assert_eq!(error, Err(GuestWalkError::NotMapped { level }));
    }
    for (level, entry) in [(5, 0x87), (4, 0x87), (3, 0x2000_0087), (2, 0x2087)] {
        let words = Words::chain(5, level, KERNEL, entry);
        let error = words.walk(0x1000, true, KERNEL);
        assert_eq!(error, Err(GuestWalkError::Reserved { level }));
    }
    let pat = Words::chain(4, 2, KERNEL, 0x1087);
    assert!(pat.walk(0x1000, false, KERNEL).is_ok(), "the PAT bit");
    let error = Words::default().walk(0x1000, false, KERNEL);
    let gpa = 0x1000 + 511 * 8;
    assert_eq!(error, Err(GuestWalkError::Unreadable { gpa }));
}

#[test]
fn only_canonical_addresses_are_walked() {
    let words = Words::default();
    for (five, address) in
        [(false, 1 << 47), (false, !0 << 48), (true, 1 << 56), (true, 0x7fff_ffff_ffff_ffff)]
    {
        let error = words.walk(0x1000, five, address);
        assert_eq!(error, Err(GuestWalkError::NotCanonical));
    }
    for (five, address) in [(false, !0 << 47), (true, !0 << 56), (true, 1 << 47)] {
        let error = words.walk(0x1000, five, address);
        assert!(matches!(error, Err(GuestWalkError::Unreadable { .. })));
    }
}

proptest! {
    #[test]
    fn arbitrary_entries_never_panic(
        entries in prop::array::uniform5(any::<u64>()),
        root: u64,
        five: bool,
        address: u64,
    ) {
        let mut left = entries.into_iter();
        let result = guest_walk(|_| left.next(), root, five, address);
        if let Ok(page) = result {
            prop_assert!(page.gpa < 1 << 52);
            prop_assert_eq!(page.gpa % page.size, address % page.size);
        }
    }
}
