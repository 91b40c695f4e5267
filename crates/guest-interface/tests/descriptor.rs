//! The descriptor parser: each fault has its own error, and no input makes it panic.

use lucos_guest_interface::call::{DATA_ITEMS, VALUE_ITEMS};
use lucos_guest_interface::descriptor::{
    DATA_CLEAR_ONLY, DATA_LOSSY, DataVersionRecord, Descriptor, DescriptorBuilder,
    DescriptorHeader, FLAG_CHECK_ONLY, FLAG_HOOKS, FUNCTION_FENTRY_SLOT, FUNCTION_NO_JUMP,
    FUNCTION_SITE_IS_SLOT, FunctionRecord, MAX_FUNCTIONS, MAX_VALUES, SharedFieldRecord,
    VALUE_IF_DEFAULT, ValueRecord,
};
use lucos_guest_interface::error::ErrorCode;
use lucos_guest_interface::name;
use lucos_guest_interface::status::WindowReason;
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

const TEXT: u64 = 0xffff_ffff_8100_0000;
const MODULES: u64 = 0xffff_ffff_c000_0000;
const MEMORY: u64 = 0xffff_8880_0000_0000;

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

fn value(index: u64) -> ValueRecord {
    ValueRecord {
        address: MEMORY + index * 16,
        old: bytes(&[1, 0, 2]),
        new: bytes(&[0, 0, 3]),
        mask: bytes(&[1, 0, 0xff]),
        length: 3,
        flags: VALUE_IF_DEFAULT,
        name: name::field("table.entry").unwrap(),
        ..ValueRecord::default()
    }
}

fn data(index: u64) -> DataVersionRecord {
    let lists = MEMORY + 0x10_0000 + index * 0x1_0000;
    DataVersionRecord {
        pairs_by_object: lists,
        pair_count: 4,
        flags: DATA_LOSSY,
        pairs_by_twin: lists + 64,
        pages: lists + 128,
        page_count: 8,
        stage_step: 192,
        stage: lists + 0x1000,
        object_size: 64,
        twin_size: 96,
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
        .value(value(0))
        .value(value(1))
        .data_version(data(0), &[shared(), shared()])
        .data_version(data(1), &[])
        .data_version(data(2), &[shared()])
        .dependency("other")
        .unwrap()
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
    assert!(!descriptor.is_clear_only());
    let values: Vec<_> = descriptor.values().collect();
    assert_eq!(
        values.iter().map(|value| *value.record()).collect::<Vec<_>>(),
        [value(0), value(1)]
    );
    assert_eq!((values[1].address(), values[1].end()), (MEMORY + 16, MEMORY + 19));
    assert_eq!(
        [values[0].old(), values[0].new_bytes(), values[0].mask()],
        [&[1, 0, 2][..], &[0, 0, 3], &[1, 0, 0xff]]
    );
    assert!(values[0].is_if_default());
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
    let cases: [(Change, ErrorCode); 30] = [
        (|d| d.object_size = 0, ErrorCode::DataSize),
        (|d| d.twin_size = 0, ErrorCode::DataSize),
        (|d| d.object_size = 4097, ErrorCode::DataSize),
        (|d| d.twin_size = u32::MAX, ErrorCode::DataSize),
        (|d| d.to_old = 0, ErrorCode::DataTransfer),
        (|d| d.to_new = 0x1000, ErrorCode::DataTransfer),
        (|d| d.flags = 1 << 3, ErrorCode::UnknownFlag),
        (|d| d.pair_count = 0, ErrorCode::DataCount),
        (|d| d.page_count = 0, ErrorCode::DataCount),
        (|d| d.page_count = 1025, ErrorCode::TooManyPages),
        (|d| d.pairs_by_object = 0, ErrorCode::DataRange),
        (|d| d.pairs_by_object += 4, ErrorCode::DataRange),
        (|d| d.pairs_by_twin = 0x1000, ErrorCode::DataRange),
        (|d| d.pairs_by_twin = u64::MAX - 7, ErrorCode::DataRange),
        (|d| d.pages = 0, ErrorCode::DataRange),
        (|d| d.pages += 1, ErrorCode::DataRange),
        (|d| d.stage = 0, ErrorCode::DataRange),
        (|d| d.stage += 8, ErrorCode::DataRange),
        (|d| (d.stage, d.pair_count) = (!0xfff, 100), ErrorCode::DataRange),
        (|d| d.pair_count = u32::MAX, ErrorCode::DataOverlap),
        (|d| d.stage_step = 0, ErrorCode::DataStage),
        (|d| d.stage_step = 184, ErrorCode::DataStage),
        (|d| d.stage_step = 200, ErrorCode::DataStage),
        (|d| d.pairs_by_object = d.stage + 8, ErrorCode::DataOverlap),
        (|d| d.pairs_by_twin = d.stage - 56, ErrorCode::DataOverlap),
        (|d| d.pages = d.stage + 4 * 192 - 8, ErrorCode::DataOverlap),
        (|d| d.stage = data(0).stage, ErrorCode::DataOverlap),
        (|d| d.stage = data(0).pages & !0xfff, ErrorCode::DataOverlap),
        (|d| d.pages = data(0).stage, ErrorCode::DataOverlap),
        (|d| d.name[0] = 0, ErrorCode::NameEmpty),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let fault = Descriptor::parse(&with_data(change)).unwrap_err();
        assert_eq!((fault.code, fault.item), (expected, DATA_ITEMS + 1), "case {index}");
    }
    // Without instances there is nothing to lend; never guarded, there is no limit but that of counts.
    let none = with_data(|d| {
        *d = DataVersionRecord {
            pairs_by_object: 0,
            pair_count: 0,
            pairs_by_twin: 0,
            pages: 0,
            page_count: 0,
            stage_step: 0,
            stage: 0,
            ..*d
        };
    });
    assert!(Descriptor::parse(&none).is_ok());
    let many = with_data(|d| {
        d.flags = DATA_CLEAR_ONLY;
        (d.pair_count, d.page_count) = (40_000, 20_000);
        d.stage += 0x100_0000;
        d.pairs_by_twin += 0x10_0000;
        d.pages += 0x20_0000;
    });
    assert!(Descriptor::parse(&many).is_ok());
}

/// Builds a descriptor around one changed value.
fn with_value(change: fn(&mut ValueRecord)) -> Vec<u8> {
    let mut record = value(1);
    change(&mut record);
    DescriptorBuilder::new("example").unwrap().value(value(0)).value(record).build()
}

#[test]
fn each_fault_of_a_value_has_its_own_error() {
    type Change = fn(&mut ValueRecord);
    let cases: [(Change, ErrorCode); 18] = [
        (|v| v.length = 0, ErrorCode::ValueSize),
        (|v| v.length = 17, ErrorCode::ValueSize),
        (|v| v.length = 2, ErrorCode::ValueSize),
        (|v| v.old[3] = 1, ErrorCode::ValueSize),
        (|v| v.new[15] = 1, ErrorCode::ValueSize),
        (|v| v.mask[7] = 1, ErrorCode::ValueSize),
        (|v| v.length = 4, ErrorCode::ValueMask),
        (|v| v.mask[0] = 0, ErrorCode::ValueMask),
        (|v| v.mask[2] = 0xfc, ErrorCode::ValueMask),
        (|v| v.new[1] = 1, ErrorCode::ValueMask),
        (|v| v.old[0] = 3, ErrorCode::ValueMask),
        (|v| v.address = 0x1000, ErrorCode::ValueRange),
        (|v| v.address = u64::MAX - 1, ErrorCode::ValueRange),
        (|v| v.address = MEMORY + 2, ErrorCode::ValueOverlap),
        (|v| v.address = MEMORY - 2, ErrorCode::ValueOverlap),
        (|v| v.flags = 2, ErrorCode::UnknownFlag),
        (|v| v.reserved = 1, ErrorCode::Reserved),
        (|v| v.name[2] = b' ', ErrorCode::NameCharacter),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let fault = Descriptor::parse(&with_value(change)).unwrap_err();
        assert_eq!((fault.code, fault.item), (expected, VALUE_ITEMS + 1), "case {index}");
    }
    assert!(Descriptor::parse(&with_value(|v| v.address = MEMORY + 3)).is_ok());
    let many = |count: u64| {
        let builder = DescriptorBuilder::new("example").unwrap();
        (0..count).fold(builder, |builder, index| builder.value(value(index))).build()
    };
    assert!(Descriptor::parse(&many(u64::from(MAX_VALUES))).is_ok());
    assert_eq!(code(&many(u64::from(MAX_VALUES) + 1)), ErrorCode::SectionCount);
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
        ("version", 1, ErrorCode::DescriptorVersion),
        ("header_size", 208, ErrorCode::HeaderSize),
        ("total_length", 8, ErrorCode::TotalLength),
        ("flags", 8, ErrorCode::UnknownFlag),
        ("name", 0, ErrorCode::NameEmpty),
        ("build_id_length", 21, ErrorCode::BuildIdLength),
        ("build_id_length", 19, ErrorCode::BuildIdLength),
        ("function_count", MAX_FUNCTIONS + 1, ErrorCode::SectionCount),
        ("function_count", MAX_FUNCTIONS, ErrorCode::SectionRange),
        ("function_count", 0, ErrorCode::SectionRange),
        ("function_count", 1, ErrorCode::SectionGap),
        ("function_offset", 172, ErrorCode::SectionAlignment),
        ("function_offset", 168, ErrorCode::SectionRange),
        ("function_offset", 0xffff_fff8, ErrorCode::SectionRange),
        ("function_offset", 184, ErrorCode::SectionOverlap),
        ("reserved", 1, ErrorCode::Reserved),
    ];
    for (field, value, expected) in cases {
        assert_eq!(code(&with_header(field, value)), expected, "{field} = {value}");
    }
}

#[test]
fn names_and_lengths() {
    let empty = DescriptorBuilder::new("example").unwrap().build();
    assert_eq!(code(&empty), ErrorCode::NothingToDo);
    let hooks = DescriptorBuilder::new("example").unwrap().flags(FLAG_HOOKS).build();
    assert!(Descriptor::parse(&hooks).is_ok());
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
        counts in any::<[u8; 40]>(),
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
        .unwrap();
    for function in descriptor.functions() {
        builder = builder.function(*function.record());
    }
    for value in descriptor.values() {
        builder = builder.value(*value.record());
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
