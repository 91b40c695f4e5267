//! Groups of descriptors, and rollback records: what is accepted keeps what it promises.

use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::call::DATA_ITEMS;
use lucos_guest_interface::error::Fault;
use lucos_guest_interface::group::{GroupHeader, MAX_GROUP, join, split};
use lucos_guest_interface::rollback::{RollbackHeader, RollbackRecord, RollbackVersion};
use proptest::prelude::*;

fn parts(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|index| vec![index as u8 + 1; 5 + index]).collect()
}

fn fault(bytes: &[u8]) -> (ErrorCode, u64) {
    let Fault { code, detail, .. } = split(bytes).unwrap_err();
    (code, detail)
}

/// A group with a 32-bit field of its header replaced.
fn with_header(offset: usize, value: u32) -> Vec<u8> {
    let mut bytes = join(&parts(2));
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn a_group_comes_apart_as_it_was_put_together() {
    for count in 1..=MAX_GROUP {
        let bytes = join(&parts(count));
        assert!(bytes.len().is_multiple_of(8));
        assert_eq!(split(&bytes).unwrap().as_slice(), parts(count).as_slice());
    }
    // What is no group is one descriptor.
    assert_eq!(split(&[7; 200]).unwrap().as_slice(), [&[7; 200][..]]);
    assert_eq!(split(&[]).unwrap().as_slice(), [&[][..]]);
}

#[test]
fn each_fault_of_a_group_is_named() {
    let start = GroupHeader::SIZE as u64;
    assert_eq!(fault(&join(&[])), (ErrorCode::Group, 0));
    assert_eq!(fault(&join(&parts(9))), (ErrorCode::Group, 9));
    assert_eq!(fault(&with_header(8, 2)), (ErrorCode::DescriptorVersion, 2));
    assert_eq!(fault(&with_header(16, 8)), (ErrorCode::TotalLength, 8));
    assert_eq!(fault(&with_header(20, 1)), (ErrorCode::Reserved, 1));
    assert_eq!(fault(&with_header(12, 1)), (ErrorCode::Group, 1));
    assert_eq!(fault(&with_header(12, 3)), (ErrorCode::Group, start + 16));
    assert_eq!(fault(&with_header(24, 0)), (ErrorCode::Group, start));
    assert_eq!(fault(&with_header(24, u32::MAX)), (ErrorCode::Group, start));
    // The rest of the first descriptor is not zero.
    assert_eq!(fault(&with_header(24, 4)), (ErrorCode::Group, start + 4));
    assert_eq!(fault(&with_header(52, 4)), (ErrorCode::Group, 2));
    let mut longer = join(&parts(2));
    longer.extend([0; 8]);
    let length = longer.len() as u32;
    longer[16..20].copy_from_slice(&length.to_le_bytes());
    assert_eq!(fault(&longer), (ErrorCode::Group, start + 16));
}

fn version(index: u64) -> RollbackVersion {
    let lists = 0xffff_8880_0000_0000 + index * 0x1_0000;
    RollbackVersion {
        pairs_by_object: lists,
        pair_count: 2,
        pairs_by_twin: lists + 32,
        pages: lists + 64,
        page_count: 1,
        stage_step: 32,
        stage: lists + 0x1000,
        ..RollbackVersion::default()
    }
}

fn record(patches: &[u32], versions: &[RollbackVersion]) -> Vec<u8> {
    let mut header = RollbackHeader {
        version: 1,
        total_length: (RollbackHeader::SIZE + versions.len() * RollbackVersion::SIZE) as u32,
        count: patches.len() as u32,
        data_count: versions.len() as u32,
        ..RollbackHeader::default()
    };
    header.patches[..patches.len()].copy_from_slice(patches);
    let mut bytes = header.to_bytes().to_vec();
    versions.iter().for_each(|version| bytes.extend(version.to_bytes()));
    bytes
}

#[test]
fn a_rollback_record_is_checked() {
    let good = record(&[9, 4], &[version(0), version(1)]);
    let parsed = RollbackRecord::parse(&good, 4).unwrap();
    assert_eq!(parsed.patches(), [9, 4]);
    assert_eq!(parsed.versions().collect::<Vec<_>>(), [version(0), version(1)]);
    let wrong = |bytes: &[u8], number| {
        let fault = RollbackRecord::parse(bytes, number).unwrap_err();
        (fault.code, fault.item, fault.detail)
    };
    let of_record = |offset| (ErrorCode::RollbackRecord, u32::MAX, offset);
    assert_eq!(wrong(&good[..40], 4), of_record(0));
    assert_eq!(wrong(&good, 9), of_record(8));
    assert_eq!(wrong(&good[..good.len() - 8], 4), of_record(4));
    assert_eq!(wrong(&record(&[], &[]), 4), of_record(8));
    assert_eq!(wrong(&record(&[4, 4], &[]), 4), of_record(16));
    assert_eq!(wrong(&record(&[0, 4], &[]), 4), of_record(16));
    let edit = |offset: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[offset] = value;
        bytes
    };
    assert_eq!(wrong(&edit(0, 2), 4), of_record(0));
    assert_eq!(wrong(&edit(8, 9), 4), of_record(8));
    assert_eq!(wrong(&edit(12, 1), 4), of_record(12));
    assert_eq!(wrong(&edit(47, 1), 4), of_record(16));
    let same_stage = RollbackVersion { stage: version(0).stage, ..version(1) };
    let overlapping = record(&[4], &[version(0), same_stage]);
    assert_eq!(wrong(&overlapping, 4).0, ErrorCode::DataOverlap);
    let own = RollbackVersion { pages: version(0).stage, ..version(0) };
    assert_eq!(wrong(&record(&[4], &[own]), 4).0, ErrorCode::DataOverlap);
    let no_room = RollbackVersion { stage_step: 0, ..version(1) };
    let second = wrong(&record(&[4], &[version(0), no_room]), 4);
    assert_eq!((second.0, second.1), (ErrorCode::DataStage, DATA_ITEMS + 1));
}

proptest! {
    #[test]
    fn a_changed_group_comes_apart_or_is_refused(place in 0_usize..120, value in any::<u8>()) {
        let mut bytes = join(&parts(3));
        if let Some(byte) = bytes.get_mut(place) {
            *byte = value;
        }
        if let Ok(found) = split(&bytes) {
            let found: Vec<Vec<u8>> = found.iter().map(|part| (*part).to_vec()).collect();
            prop_assert!(join(&found) == bytes || found == [bytes.clone()]);
        }
    }

    #[test]
    fn any_bytes_are_a_rollback_record_or_not(
        place in 0_usize..144, value in any::<u8>(), bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut good = record(&[9, 4], &[version(0), version(1)]);
        if let Some(byte) = good.get_mut(place) {
            *byte = value;
        }
        if let Ok(parsed) = RollbackRecord::parse(&good, 4) {
            let versions: Vec<_> = parsed.versions().collect();
            prop_assert_eq!(record(parsed.patches(), &versions), good);
        }
        prop_assert!(RollbackRecord::parse(&bytes, 4).is_err());
    }
}
