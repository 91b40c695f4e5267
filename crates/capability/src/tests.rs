use lucos_abi::call::CallStatus;
use lucos_abi::manifest::{CapabilityEntry, Object, Rights, SLOTS, TaskEntry, TaskImage};
use proptest::prelude::*;

use crate::CapabilityTable;

fn task(capabilities: &[(Object, Rights)]) -> TaskEntry {
    let capabilities = capabilities.iter();
    TaskEntry {
        name: "some".try_into().unwrap(),
        stack_pages: 4,
        heap_pages: 16,
        journal_pages: 0,
        image: TaskImage::default(),
        capabilities: capabilities
            .map(|&(object, rights)| CapabilityEntry { object, rights })
            .collect(),
    }
}

#[test]
fn lookups_give_what_the_manifest_lists_and_nothing_else() {
    let rights = Rights::START | Rights::RESET;
    let table =
        CapabilityTable::new(&task(&[(Object::Log, Rights::WRITE), (Object::Machine, rights)]));
    assert_eq!(table.get(Object::Machine.slot()), Ok((Object::Machine, rights)));
    for slot in [Object::GuestSpace.slot(), SLOTS.len() as u64, u64::MAX, 1 << 32] {
        assert_eq!(table.get(slot), Err(CallStatus::NoCapability));
    }
}

#[test]
fn every_object_lies_in_its_own_slot() {
    for (position, object) in SLOTS.into_iter().enumerate() {
        assert_eq!(object.slot(), position as u64);
    }
    assert_eq!(Object::Task(4).slot(), SLOTS.len() as u64);
}

proptest! {
    #[test]
    fn a_lookup_never_gives_more_than_was_listed(
        listed in prop::collection::vec((0..SLOTS.len(), 0..128u16), 0..SLOTS.len()),
        slot in prop_oneof![0..12u64, any::<u64>()],
    ) {
        let entries: Vec<_> = listed
            .iter()
            .map(|&(object, rights)| (SLOTS[object], Rights::from_bits_retain(rights)))
            .collect();
        let table = CapabilityTable::new(&task(&entries));
        let held = entries.iter().find(|(object, _)| object.slot() == slot);
        let expected = match held {
            None => Err(CallStatus::NoCapability),
            Some(capability) => Ok(*capability),
        };
        prop_assert_eq!(table.get(slot), expected);
    }
}
