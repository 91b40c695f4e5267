//! Update descriptors: one that is accepted keeps the promises that everything behind the parser
//! builds on.

use lucos_guest_interface::descriptor::{
    Descriptor, DescriptorBuilder, DescriptorHeader, FLAG_HOOKS, Function, FunctionRecord,
    JUMP_SIZE, VALUE_SIZE, Value, ValueRecord,
};
use lucos_guest_interface::group;
use lucos_guest_interface::name;
use lucos_guest_interface::patch_module::{PatchFunctionRecord, PatchRecord};
use lucos_guest_interface::registration::{
    BUILD_ID_SIZE, KERNEL_HALF_START, REGISTRATION_VERSION, Registration, RegistrationRecord,
};
use lucos_guest_interface::rollback::{RollbackHeader, RollbackRecord};

/// The bytes are taken for a descriptor, a group, a registration, a rollback record and records.
pub fn check(data: &[u8]) -> bool {
    let descriptor = Descriptor::parse(data);
    if let Ok(descriptor) = &descriptor {
        promises(descriptor, data);
    }
    let registration = Registration::parse(data);
    if let Ok(registration) = &registration {
        assert_eq!(registration.record().to_bytes().as_slice(), data);
        assert!(registration.build_id().len() <= BUILD_ID_SIZE);
    }
    let members = group::split(data);
    if let Ok(members) = &members {
        assert!((1..=group::MAX_GROUP).contains(&members.len()));
        if members.as_slice() != [data] {
            let members: Vec<Vec<u8>> = members.iter().map(|member| (*member).to_vec()).collect();
            assert_eq!(group::join(&members), data, "a group has other bytes");
        }
    }
    let record = data.get(16..20).and_then(|number| {
        let number = u32::from_le_bytes(number.try_into().ok()?);
        RollbackRecord::parse(data, number).ok()
    });
    if let Some(record) = &record {
        assert!((1..=group::MAX_GROUP).contains(&record.patches().len()));
        assert!(!record.patches().contains(&0));
    }
    if let Some(record) = PatchRecord::read(data) {
        assert!(data.starts_with(&record.to_bytes()));
        is_name(name::parse(&record.name));
    }
    if let Some(record) = PatchFunctionRecord::read(data) {
        assert!(data.starts_with(&record.to_bytes()));
    }
    let is_group = members.is_ok_and(|members| members.as_slice() != [data]);
    descriptor.is_ok() || registration.is_ok() || record.is_some() || is_group
}

fn is_name<E>(name: Result<&str, E>) {
    if let Ok(name) = name {
        assert!((1..name::NAME_SIZE).contains(&name.len()));
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

fn promises(descriptor: &Descriptor<'_>, data: &[u8]) {
    let header = descriptor.header();
    assert_eq!(header.total_length as usize, data.len());
    is_name(Ok::<_, ()>(descriptor.name()));
    assert!(!descriptor.name().is_empty());
    assert!(descriptor.build_id().len() <= BUILD_ID_SIZE);
    let functions: Vec<Function> = descriptor.functions().collect();
    assert_eq!(functions.len(), header.function_count as usize, "a function is lost");
    for (index, function) in functions.iter().enumerate() {
        one_function(function);
        for other in &functions[..index] {
            let apart = |a: (u64, u64), b: (u64, u64)| a.1 <= b.0 || b.1 <= a.0;
            let old = |function: &Function| (function.old_start(), function.old_end());
            assert!(apart(old(function), old(other)), "old functions overlap");
            let window = |function: &Function| (function.site(), function.site() + JUMP_SIZE);
            assert!(apart(window(function), window(other)), "windows overlap");
        }
    }
    let values: Vec<Value> = descriptor.values().collect();
    assert_eq!(values.len(), header.value_count as usize, "a value is lost");
    for (index, value) in values.iter().enumerate() {
        one_value(value);
        for other in &values[..index] {
            assert!(value.end() <= other.address() || other.end() <= value.address());
        }
    }
    let versions: Vec<_> = descriptor.data_versions().collect();
    assert_eq!(versions.len(), header.data_count as usize, "a data version is lost");
    let shared: usize = versions.iter().map(|data| descriptor.shared_fields(data).count()).sum();
    assert_eq!(shared, header.shared_count as usize, "a shared field is lost or has two owners");
    let dependencies: Vec<&str> = descriptor.dependencies().collect();
    assert_eq!(dependencies.len(), header.dependency_count as usize, "a dependency is lost");
    assert!(!dependencies.contains(&descriptor.name()));
    let is_empty = functions.is_empty() && values.is_empty() && versions.is_empty();
    assert!(!is_empty || header.flags & FLAG_HOOKS != 0);
}

fn one_function(function: &Function) {
    is_name(Ok::<_, ()>(function.name()));
    assert!(function.old_start() >= KERNEL_HALF_START);
    assert!(function.old_start() < function.old_end());
    assert!((function.old_start()..function.old_end()).contains(&function.site()));
    assert!(function.site().checked_add(JUMP_SIZE).is_some());
    assert!(function.new_entry() >= KERNEL_HALF_START);
    assert!(function.new_entry() < function.new_end());
    assert!(!function.site_is_slot() || function.has_fentry_slot());
    let expected: Vec<(u8, u8)> = function.expected().collect();
    assert_eq!(expected.len(), function.record().expected_length as usize);
    assert!(expected.iter().all(|(byte, mask)| byte & !mask == 0));
}

fn one_value(value: &Value) {
    is_name(Ok::<_, ()>(value.name()));
    assert!(value.address() >= KERNEL_HALF_START && value.address() < value.end());
    let length = value.record().length as usize;
    assert!((1..=VALUE_SIZE).contains(&length));
    for bytes in [value.old(), value.new_bytes()] {
        assert_eq!(bytes.len(), length);
        assert!(bytes.iter().zip(value.mask()).all(|(byte, mask)| byte & !mask == 0));
    }
    assert!(value.mask().first() != Some(&0) && value.mask().last() != Some(&0));
}

/// Descriptors with functions, values and dependencies, a group, a registration, records.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let function = |index: u64| FunctionRecord {
        old_start: 0xffff_ffff_8100_0000 + index * 0x100,
        new_entry: 0xffff_ffff_c000_0000 + index * 0x100,
        old_size: 0x80,
        new_size: 0x40,
        name: name::field("old_function").expect("a name"),
        ..FunctionRecord::default()
    };
    let builder = || DescriptorBuilder::new("example").expect("a name");
    let registration = RegistrationRecord {
        version: REGISTRATION_VERSION,
        size: RegistrationRecord::SIZE as u32,
        text_start: 0xffff_ffff_8100_0000,
        text_end: 0xffff_ffff_8200_0000,
        modules_start: 0xffff_ffff_c000_0000,
        modules_end: 0xffff_ffff_ff00_0000,
        boot_identity: [1; 16],
        ..RegistrationRecord::default()
    };
    let mut value = ValueRecord {
        address: 0xffff_ffff_8280_0000,
        length: 8,
        name: name::field("table.entry").expect("a name"),
        ..ValueRecord::default()
    };
    (value.old[0], value.mask[0], value.mask[7]) = (1, 1, 0x80);
    let rollback = RollbackHeader {
        version: 1,
        total_length: RollbackHeader::SIZE as u32,
        count: 1,
        patches: [7, 0, 0, 0, 0, 0, 0, 0],
        ..RollbackHeader::default()
    };
    let patch =
        PatchRecord { name: name::field("example").expect("a name"), ..PatchRecord::default() };
    vec![
        builder().function(function(0)).build(),
        builder().function(function(0)).function(function(1)).flags(1).build(),
        builder()
            .function(function(2))
            .dependency("one")
            .and_then(|builder| builder.dependency("two"))
            .and_then(|builder| builder.build_id(&[7; 20]))
            .expect("names")
            .value(value)
            .build(),
        group::join(&[builder().function(function(0)).build(), builder().value(value).build()]),
        rollback.to_bytes().to_vec(),
        DescriptorHeader::default().to_bytes().to_vec(),
        registration.to_bytes().to_vec(),
        patch.to_bytes().to_vec(),
    ]
}
