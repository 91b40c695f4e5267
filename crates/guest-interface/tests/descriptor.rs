//! The descriptor parser: each fault has its own error, and no input makes it panic.

use lucos_guest_interface::descriptor::{
    DataVersionRecord, Descriptor, DescriptorBuilder, DescriptorHeader, FLAG_CHECK_ONLY,
    FUNCTION_FENTRY_SLOT, FUNCTION_NO_JUMP, FUNCTION_SITE_IS_SLOT, FunctionRecord, MAX_FUNCTIONS,
    SharedFieldRecord,
};
use lucos_guest_interface::error::ErrorCode;
use lucos_guest_interface::name;
use lucos_guest_interface::status::WindowReason;
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

const TEXT: u64 = 0xffff_ffff_8100_0000;
const MODULES: u64 = 0xffff_ffff_c000_0000;

fn function(index: u64) -> FunctionRecord {
    FunctionRecord {
        old_start: TEXT + index * 0x100,
        new_entry: MODULES + index * 0x100,
        old_size: 0x80,
        site_offset: 5,
        new_size: 0x40,
        flags: FUNCTION_FENTRY_SLOT,
        expected_length: 2,
        expected: bytes(&[0x55, 0x41]),
        expected_mask: bytes(&[0xff, 0xff]),
        name: name::field("old_function").unwrap(),
        ..FunctionRecord::default()
    }
}

fn bytes<const N: usize>(values: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field[..values.len()].copy_from_slice(values);
    field
}

fn data(index: u64) -> DataVersionRecord {
    DataVersionRecord {
        old_object: TEXT + 0x100_0000 + index * 0x1000,
        new_object: MODULES + 0x100_0000 + index * 0x1000,
        old_size: 64,
        new_size: 96,
        to_new: MODULES,
        to_old: MODULES + 16,
        name: name::field("some_object").unwrap(),
        ..DataVersionRecord::default()
    }
}

fn shared() -> SharedFieldRecord {
    SharedFieldRecord { old_offset: 8, new_offset: 16, size: 8, reserved: 0 }
}

fn full() -> Vec<u8> {
    DescriptorBuilder::new("example")
        .unwrap()
        .flags(FLAG_CHECK_ONLY)
        .build_id(&[9; 20])
        .unwrap()
        .function(function(0))
        .function(function(1))
        .data_version(data(0), &[shared(), shared()])
        .data_version(data(1), &[])
        .data_version(data(2), &[shared()])
        .dependency("other")
        .unwrap()
        .hooks([MODULES, 0, MODULES + 32, 0])
        .build()
}

fn code(bytes: &[u8]) -> ErrorCode {
    Descriptor::parse(bytes).unwrap_err().code
}

#[test]
fn a_full_descriptor_comes_back() {
    let bytes = full();
    let descriptor = Descriptor::parse(&bytes).unwrap();
    assert_eq!(descriptor.name(), "example");
    assert!(descriptor.is_check_only());
    assert_eq!(descriptor.build_id(), [9; 20]);
    assert_eq!(descriptor.hooks().collect::<Vec<_>>(), [MODULES, MODULES + 32]);
    assert_eq!(descriptor.dependencies().collect::<Vec<_>>(), ["other"]);
    let functions: Vec<_> = descriptor.functions().collect();
    assert_eq!(functions.len(), 2);
    assert_eq!(functions[1].site(), TEXT + 0x105);
    assert_eq!(functions[1].old_end(), TEXT + 0x180);
    assert_eq!(functions[0].name(), "old_function");
    assert_eq!(functions[0].expected().collect::<Vec<_>>(), [(0x55, 0xff), (0x41, 0xff)]);
    assert_eq!(descriptor.function(1), Some(functions[1]));
    assert_eq!(descriptor.function(2), None);
    let versions: Vec<_> = descriptor.data_versions().collect();
    let counts: Vec<_> =
        versions.iter().map(|version| descriptor.shared_fields(version).count()).collect();
    assert_eq!(counts, [2, 0, 1]);
}

/// Builds a descriptor around one changed function.
fn with_function(change: fn(&mut FunctionRecord)) -> Vec<u8> {
    let mut record = function(1);
    change(&mut record);
    DescriptorBuilder::new("example").unwrap().function(function(0)).function(record).build()
}

#[test]
fn each_fault_of_a_function_has_its_own_error() {
    type Change = fn(&mut FunctionRecord);
    let cases: [(Change, ErrorCode); 20] = [
        (|f| f.old_size = 0, ErrorCode::FunctionSize),
        (|f| f.old_start = 0x40_0000, ErrorCode::FunctionRange),
        (|f| f.old_start = u64::MAX - 4, ErrorCode::FunctionRange),
        (|f| f.site_offset = 0x80, ErrorCode::SiteOffset),
        (|f| f.new_size = 0, ErrorCode::NewSize),
        (|f| f.new_entry = 0, ErrorCode::NewRange),
        (|f| f.new_entry = u64::MAX, ErrorCode::NewRange),
        (|f| f.new_entry = TEXT + 0x10, ErrorCode::NewIsOld),
        (|f| f.new_entry = f.old_start, ErrorCode::NewIsOld),
        (|f| f.old_start = TEXT + 0x7f, ErrorCode::FunctionOverlap),
        (|f| f.flags = 1 << 3, ErrorCode::UnknownFlag),
        (|f| f.flags = FUNCTION_SITE_IS_SLOT, ErrorCode::FlagCombination),
        (|f| f.flags |= FUNCTION_NO_JUMP, ErrorCode::Reason),
        (|f| f.reason = WindowReason::Kprobe.number(), ErrorCode::Reason),
        (|f| f.reason = 99, ErrorCode::Reason),
        (|f| f.expected_length = 17, ErrorCode::ExpectedLength),
        (|f| f.expected_length = 1, ErrorCode::ExpectedMask),
        (|f| f.expected_mask[0] = 0xaa, ErrorCode::ExpectedMask),
        (|f| f.reserved = 1, ErrorCode::Reserved),
        (|f| f.name[3] = b' ', ErrorCode::NameCharacter),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let fault = Descriptor::parse(&with_function(change)).unwrap_err();
        assert_eq!(fault.code, expected, "case {index}");
        assert!(fault.item <= 1, "case {index}");
    }
}

#[test]
fn windows_of_short_functions_must_not_overlap() {
    let short = |index: u64| FunctionRecord {
        old_start: TEXT + index * 3,
        old_size: 3,
        site_offset: 0,
        flags: 0,
        expected_length: 0,
        expected: [0; 16],
        expected_mask: [0; 16],
        ..function(index)
    };
    let bytes =
        DescriptorBuilder::new("example").unwrap().function(short(0)).function(short(1)).build();
    assert_eq!(code(&bytes), ErrorCode::SiteOverlap);
}

/// Builds a descriptor around one changed data version.
fn with_data(change: fn(&mut DataVersionRecord)) -> Vec<u8> {
    let mut record = data(1);
    change(&mut record);
    DescriptorBuilder::new("example")
        .unwrap()
        .data_version(data(0), &[])
        .data_version(record, &[])
        .build()
}

#[test]
fn each_fault_of_a_data_version_has_its_own_error() {
    type Change = fn(&mut DataVersionRecord);
    let cases: [(Change, ErrorCode); 11] = [
        (|d| d.old_size = 0, ErrorCode::DataSize),
        (|d| d.new_size = 0, ErrorCode::DataSize),
        (|d| d.old_object = 0, ErrorCode::DataRange),
        (|d| d.new_size = u64::MAX, ErrorCode::DataRange),
        (|d| d.instances = MODULES, ErrorCode::DataRange),
        (|d| d.to_old = 0, ErrorCode::DataTransfer),
        (|d| d.instances = 5, ErrorCode::DataTransfer),
        (|d| d.old_object -= 0x1000, ErrorCode::DataOverlap),
        (|d| d.new_object = d.old_object + 8, ErrorCode::DataOverlap),
        (|d| d.flags = 1, ErrorCode::UnknownFlag),
        (|d| d.reserved2 = [0, 1], ErrorCode::Reserved),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(code(&with_data(change)), expected, "case {index}");
    }
    let instances = with_data(|d| {
        d.instances = MODULES + 64;
        d.old_object = 0;
        d.new_object = 0;
    });
    assert!(Descriptor::parse(&instances).is_ok());
}

#[test]
fn shared_fields_have_one_owner_and_lie_inside_it() {
    let build = |field: SharedFieldRecord| {
        DescriptorBuilder::new("example").unwrap().data_version(data(0), &[field]).build()
    };
    assert!(Descriptor::parse(&build(shared())).is_ok());
    for field in [
        SharedFieldRecord { size: 0, ..shared() },
        SharedFieldRecord { old_offset: 60, ..shared() },
        SharedFieldRecord { new_offset: u32::MAX, size: u32::MAX, ..shared() },
    ] {
        assert_eq!(code(&build(field)), ErrorCode::SharedField);
    }
    assert_eq!(code(&build(SharedFieldRecord { reserved: 1, ..shared() })), ErrorCode::Reserved);
    // The record that owns the field says that it has none.
    let mut bytes = build(shared());
    let count = DescriptorHeader::SIZE + offset(DataVersionRecord::FIELDS, "shared_count");
    bytes[count] = 0;
    assert_eq!(code(&bytes), ErrorCode::SharedOwner);
    bytes[count] = 2;
    assert_eq!(code(&bytes), ErrorCode::SharedOwner);
}

fn offset(fields: &[lucos_guest_interface::Field], name: &str) -> usize {
    fields.iter().find(|field| field.name == name).unwrap().offset
}

/// A descriptor with a 32-bit field of its header replaced.
fn with_header(field: &str, value: u32) -> Vec<u8> {
    let mut bytes = full();
    let start = offset(DescriptorHeader::FIELDS, field);
    bytes[start..start + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn each_fault_of_the_header_has_its_own_error() {
    let cases = [
        ("magic", 0, ErrorCode::Magic),
        ("version", 2, ErrorCode::DescriptorVersion),
        ("header_size", 200, ErrorCode::HeaderSize),
        ("total_length", 8, ErrorCode::TotalLength),
        ("flags", 2, ErrorCode::UnknownFlag),
        ("name", 0, ErrorCode::NameEmpty),
        ("build_id_length", 21, ErrorCode::BuildIdLength),
        ("build_id_length", 19, ErrorCode::BuildIdLength),
        ("function_count", MAX_FUNCTIONS + 1, ErrorCode::SectionCount),
        ("function_count", MAX_FUNCTIONS, ErrorCode::SectionRange),
        ("function_count", 0, ErrorCode::SectionRange),
        ("function_count", 1, ErrorCode::SectionGap),
        ("function_offset", 204, ErrorCode::SectionAlignment),
        ("function_offset", 200, ErrorCode::SectionRange),
        ("function_offset", 0xffff_fff8, ErrorCode::SectionRange),
        ("function_offset", 216, ErrorCode::SectionOverlap),
        ("reserved", 1, ErrorCode::Reserved),
    ];
    for (field, value, expected) in cases {
        assert_eq!(code(&with_header(field, value)), expected, "{field} = {value}");
    }
    let hook = DescriptorBuilder::new("example")
        .unwrap()
        .function(function(0))
        .hooks([0, 0x1000, 0, 0])
        .build();
    assert_eq!(code(&hook), ErrorCode::Hook);
}

#[test]
fn names_and_lengths() {
    let empty = DescriptorBuilder::new("example").unwrap().build();
    assert_eq!(code(&empty), ErrorCode::NothingToDo);
    assert_eq!(code(&[]), ErrorCode::DescriptorTruncated);
    assert_eq!(code(&full()[..DescriptorHeader::SIZE - 1]), ErrorCode::DescriptorTruncated);
    assert_eq!(code(&full()[..300]), ErrorCode::TotalLength);
    let mut longer = full();
    longer.extend_from_slice(&[0; 8]);
    assert_eq!(code(&longer), ErrorCode::TotalLength);
    let total = u32::try_from(longer.len()).unwrap();
    longer[16..20].copy_from_slice(&total.to_le_bytes());
    assert_eq!(code(&longer), ErrorCode::SectionGap);
}

#[test]
fn a_patch_cannot_depend_on_itself_or_twice_on_another() {
    let build = |names: [&str; 2]| {
        let mut builder = DescriptorBuilder::new("example").unwrap().function(function(0));
        for name in names {
            builder = builder.dependency(name).unwrap();
        }
        builder.build()
    };
    assert!(Descriptor::parse(&build(["a", "b"])).is_ok());
    assert_eq!(code(&build(["a", "a"])), ErrorCode::Dependency);
    assert_eq!(code(&build(["a", "example"])), ErrorCode::Dependency);
}

#[test]
fn as_many_functions_as_allowed_and_no_more() {
    let build = |count: u64| {
        (0..count)
            .fold(DescriptorBuilder::new("example").unwrap(), |builder, index| {
                builder.function(function(index))
            })
            .build()
    };
    let most = u64::from(MAX_FUNCTIONS);
    assert_eq!(Descriptor::parse(&build(most)).unwrap().functions().count(), 64);
    assert_eq!(code(&build(most + 1)), ErrorCode::SectionCount);
}

/// Every bit of a full descriptor, flipped: refused, or the descriptor says something else.
#[test]
fn no_bit_is_ignored() {
    let original = full();
    for position in 0..original.len() {
        for bit in 0..8 {
            let mut input = original.clone();
            input[position] ^= 1 << bit;
            if let Ok(descriptor) = Descriptor::parse(&input) {
                assert_eq!(rebuild(&descriptor), input, "byte {position}, bit {bit}");
            }
        }
    }
}

/// A function in a slot of its own, so that any set of slots makes a valid descriptor.
fn any_function() -> impl Strategy<Value = FunctionRecord> {
    (0..128_u64, 1..0x80_u32, any::<prop::sample::Index>(), 1..0x80_u32, any::<bool>(), 0..=16_u32)
        .prop_map(|(slot, old_size, site, new_size, slot_flag, expected)| {
            let site_offset = u32::try_from(site.index(old_size as usize)).unwrap();
            let expected_length = expected.min(old_size - site_offset);
            let mask = |value: u8| bytes(&vec![value; expected_length as usize]);
            FunctionRecord {
                old_size,
                site_offset,
                new_size,
                flags: if slot_flag { FUNCTION_FENTRY_SLOT } else { 0 },
                expected_length,
                expected: mask(0x21),
                expected_mask: mask(0x7f),
                ..function(slot)
            }
        })
}

proptest! {
    #[test]
    fn random_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(Descriptor::parse(&input).is_err());
    }

    #[test]
    fn random_bytes_behind_a_good_header_never_panic(
        tail in prop::collection::vec(any::<u8>(), 0..2048),
        counts in any::<[u8; 32]>(),
    ) {
        let mut input = full()[..DescriptorHeader::SIZE].to_vec();
        let counts_start = offset(DescriptorHeader::FIELDS, "function_count");
        for (place, count) in input[counts_start..].iter_mut().zip(counts) {
            *place = if count < 128 { *place } else { count };
        }
        input.extend_from_slice(&tail);
        let total = u32::try_from(input.len()).unwrap();
        input[16..20].copy_from_slice(&total.to_le_bytes());
        let _ = Descriptor::parse(&input);
    }

    #[test]
    fn what_was_built_comes_back(
        functions in prop::collection::vec(any_function(), 1..=64),
        name in "[!-~]{1,63}",
    ) {
        let mut slots = std::collections::BTreeMap::new();
        for function in functions {
            slots.insert(function.old_start, function);
        }
        let mut builder = DescriptorBuilder::new(&name).unwrap();
        for function in slots.values() {
            builder = builder.function(*function);
        }
        let input = builder.build();
        let descriptor = Descriptor::parse(&input).unwrap();
        prop_assert_eq!(descriptor.name(), name);
        let parsed: Vec<_> = descriptor.functions().map(|function| *function.record()).collect();
        prop_assert_eq!(parsed, slots.into_values().collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_byte_is_refused_or_means_something(
        position in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut input = full();
        let position = position.index(input.len());
        input[position] = value;
        if let Ok(descriptor) = Descriptor::parse(&input) {
            prop_assert_eq!(rebuild(&descriptor), input);
        }
    }

    #[test]
    fn a_shortened_descriptor_is_refused(length in any::<prop::sample::Index>()) {
        let input = full();
        prop_assert!(Descriptor::parse(&input[..length.index(input.len())]).is_err());
    }
}

/// Builds the descriptor again from what the parser says: nothing may get lost.
fn rebuild(descriptor: &Descriptor<'_>) -> Vec<u8> {
    let header = descriptor.header();
    let mut builder = DescriptorBuilder::new(descriptor.name())
        .unwrap()
        .flags(header.flags)
        .build_id(descriptor.build_id())
        .unwrap()
        .hooks([header.pre_apply, header.post_apply, header.pre_rollback, header.post_rollback]);
    for function in descriptor.functions() {
        builder = builder.function(*function.record());
    }
    for version in descriptor.data_versions() {
        let fields: Vec<_> = descriptor.shared_fields(&version).collect();
        builder = builder.data_version(*version.record(), &fields);
    }
    for dependency in descriptor.dependencies() {
        builder = builder.dependency(dependency).unwrap();
    }
    builder.build()
}
