//! Requests and replies.

use lucos_data_versions::Changes;
use lucos_service::places::{Difference, PlaceError};
use lucos_service::{MAX_GUARD_REQUEST, MemoryError, MemoryReply, MemoryRequest};

use crate::code;
use crate::guards::{self, Pages};
use crate::map::GuestMap;
use crate::platform::Platform;
use crate::{access, confined, hash, pairs, retained, space, translate};

/// Answers one request. Bytes of the reply lie in `scratch`.
///
/// A request is never an error of this task: whatever the guest's tables or the caller's numbers
/// are, the answer says what is wrong.
pub fn answer<'a>(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    request: MemoryRequest<'_>,
    scratch: &'a mut [u8],
) -> MemoryReply<'a> {
    try_answer(platform, map, request, scratch).unwrap_or_else(MemoryReply::Failed)
}

/// A message has few places, of few bytes each.
const fn differs(Difference { place, offset }: Difference) -> MemoryReply<'static> {
    MemoryReply::Differs { place: place as u32, offset: offset as u32 }
}

const fn failed_at(PlaceError { place, error }: PlaceError<MemoryError>) -> MemoryReply<'static> {
    MemoryReply::FailedAt { place: place as u32, error }
}

fn try_answer<'a>(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    request: MemoryRequest<'_>,
    scratch: &'a mut [u8],
) -> Result<MemoryReply<'a>, MemoryError> {
    Ok(match request {
        MemoryRequest::Translate { space, address } => {
            MemoryReply::Address { gpa: translate::page(platform, map, space, address)?.gpa }
        }
        MemoryRequest::Read { space, address, length } => {
            let data = room(scratch, length)?;
            access::read(platform, map, space, address, data)?;
            MemoryReply::Bytes { data }
        }
        MemoryRequest::Fetch { space, address, length } => {
            let data = room(scratch, u32::from(length))?;
            let fetched = access::fetch(platform, map, space, address, data)?;
            MemoryReply::Bytes { data: data.get(..fetched).unwrap_or_default() }
        }
        MemoryRequest::Write { space, address, data } => {
            access::write(platform, map, space, address, data)?;
            MemoryReply::Done
        }
        MemoryRequest::CompareCode { space, places } => {
            match code::compare(platform, map, space, places) {
                Ok(None) => MemoryReply::Done,
                Ok(Some(difference)) => differs(difference),
                Err(error) => failed_at(error),
            }
        }
        MemoryRequest::WriteCode { space, places } => {
            match code::write(platform, map, space, places) {
                Ok(()) => MemoryReply::Done,
                Err(error) => failed_at(error),
            }
        }
        MemoryRequest::ReadPhysical { gpa, length } => {
            let data = room(scratch, length)?;
            map.check(gpa, length.into())?;
            access::read_physical(platform, gpa, data)?;
            MemoryReply::Bytes { data }
        }
        MemoryRequest::WritePhysical { gpa, data } => {
            map.check(gpa, data.len() as u64)?;
            access::write_physical(platform, gpa, data)?;
            MemoryReply::Done
        }
        MemoryRequest::CopyPhysical { from, to, length } => {
            copy(platform, map, from, to, length)?;
            MemoryReply::Done
        }
        MemoryRequest::Guard { kind, on, pages } => {
            let pages = words(pages)?;
            match on {
                true => space::guard(platform, map, kind, &pages)?,
                false => space::release(platform, map, kind, &pages)?,
            }
            MemoryReply::Done
        }
        MemoryRequest::Guards { kind, from } => {
            let words = scratch.chunks_exact_mut(8).take(MAX_GUARD_REQUEST);
            let guarded = guards::all(platform)
                .filter(|guard| guard.page >= from && guard.kinds.contains(kind));
            let mut count = 0;
            for (word, guard) in words.zip(guarded) {
                word.copy_from_slice(&guard.page.to_le_bytes());
                count += word.len();
            }
            MemoryReply::Bytes { data: scratch.get(..count).unwrap_or_default() }
        }
        MemoryRequest::ReleaseAll => {
            space::release_all(platform)?;
            MemoryReply::Done
        }
        MemoryRequest::Open { gpa, copy } => {
            confined::open(platform, map, gpa, copy)?;
            MemoryReply::Done
        }
        MemoryRequest::OpenTable { gpa } => {
            confined::open_table(platform, map, gpa)?;
            MemoryReply::Done
        }
        MemoryRequest::Changes { gpa } => {
            let data = room(scratch, Changes::SIZE as u32)?;
            data.copy_from_slice(&confined::changes(platform, gpa)?.to_bytes());
            MemoryReply::Bytes { data }
        }
        MemoryRequest::Close => {
            confined::close(platform)?;
            MemoryReply::Done
        }
        MemoryRequest::Publish { space, from, to, length } => {
            pairs::publish(platform, map, space, from, to, length)?;
            MemoryReply::Done
        }
        MemoryRequest::CopyPairs { space, copy } => {
            pairs::copy(platform, map, space, &copy)?;
            MemoryReply::Done
        }
        MemoryRequest::Zero { space, address, length } => {
            pairs::zero(platform, map, space, address, length)?;
            MemoryReply::Done
        }
        MemoryRequest::Fault { gpa, access, view } => {
            MemoryReply::Fault(space::fault(platform, map, gpa, access, view)?)
        }
        MemoryRequest::Hash => MemoryReply::Hash(hash::of_guest(platform, map)?),
        #[cfg(feature = "fault-injection")]
        MemoryRequest::EndAfterWrites { .. } => MemoryReply::Done,
        MemoryRequest::HiddenAccesses => MemoryReply::Count(retained::hidden_accesses(platform)),
    })
}

fn copy(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    from: u64,
    to: u64,
    length: u64,
) -> Result<(), MemoryError> {
    map.check(from, length)?;
    map.check(to, length)?;
    platform.copy(from, to, length).map_err(|refused| refused.at(to))
}

/// The addresses in a request.
fn words(bytes: &[u8]) -> Result<Pages, MemoryError> {
    let (words, rest) = bytes.as_chunks();
    if !rest.is_empty() || words.len() > MAX_GUARD_REQUEST {
        return Err(MemoryError::TooLong);
    }
    Ok(words.iter().copied().map(u64::from_le_bytes).collect())
}

/// The part of `scratch` for `length` bytes.
fn room(scratch: &mut [u8], length: u32) -> Result<&mut [u8], MemoryError> {
    scratch.get_mut(..length as usize).ok_or(MemoryError::TooLong)
}

#[cfg(test)]
mod tests {
    use super::answer;
    use crate::fake::{self, AREA, Fake, REGION};
    use crate::platform::Platform;
    use lucos_abi::message::PAYLOAD_MAX;
    use lucos_abi::object::{Access, View};
    use lucos_service::{
        AddressSpace, FaultVerdict, GuardKind, MemoryError, MemoryReply, MemoryRequest,
    };
    use proptest::prelude::*;

    fn ask(machine: &mut Fake, request: MemoryRequest<'_>, check: impl FnOnce(MemoryReply<'_>)) {
        let info = fake::info();
        let mut scratch = [0xee; PAYLOAD_MAX];
        check(answer(machine, &fake::map(&info), request, &mut scratch));
    }

    fn fails(machine: &mut Fake, request: MemoryRequest<'_>, error: MemoryError) {
        ask(machine, request, |reply| {
            assert_eq!(reply, MemoryReply::Failed(error));
        });
    }

    #[test]
    fn a_write_can_be_read_back() {
        let mut machine = Fake::new();
        machine.map_page(0x7000, 0x5_0000, true);
        let space = machine.address_space();
        let data = &[1, 2, 3];
        let write = MemoryRequest::Write { space, address: 0x7004, data };
        ask(&mut machine, write, |reply| {
            assert_eq!(reply, MemoryReply::Done);
        });
        let read = MemoryRequest::Read { space, address: 0x7003, length: 5 };
        ask(&mut machine, read, |reply| {
            let data = &[0, 1, 2, 3, 0];
            assert_eq!(reply, MemoryReply::Bytes { data });
        });
        let address = 0x7004;
        ask(&mut machine, MemoryRequest::Translate { space, address }, |reply| {
            assert_eq!(reply, MemoryReply::Address { gpa: 0x5_0004 })
        });
    }

    #[test]
    fn more_than_a_message_holds_is_too_long() {
        let mut machine = Fake::new();
        let length = PAYLOAD_MAX as u32 + 1;
        let request = MemoryRequest::ReadPhysical { gpa: 0, length };
        fails(&mut machine, request, MemoryError::TooLong);
        let request = MemoryRequest::ReadPhysical { gpa: 0, length: u32::MAX };
        fails(&mut machine, request, MemoryError::TooLong);
    }

    #[test]
    fn copies_stay_in_the_guests_memory() {
        let mut machine = Fake::new();
        let request = |from, to, length| MemoryRequest::CopyPhysical { from, to, length };
        let not_ram = |gpa| MemoryError::NotRam { gpa };
        fails(&mut machine, request(0, REGION, 1), not_ram(REGION));
        fails(&mut machine, request(REGION - 1, 0, 2), not_ram(REGION));
        fails(&mut machine, request(0, 0x2000, u64::MAX), not_ram(0x9_f000));
        fails(&mut machine, request(0, 0xfee0_0000, 1), not_ram(0xfee0_0000));
        let bytes: Vec<u8> = (0..10_000_u32).map(|number| (number % 251) as u8).collect();
        for (from, to) in [(0x2000, 0x10_0000), (0x2000, 0x2123), (0x2123, 0x2000)] {
            machine.write(from, &bytes).unwrap();
            ask(&mut machine, request(from, to, bytes.len() as u64), |reply| {
                assert_eq!(reply, MemoryReply::Done);
            });
            assert_eq!(machine.bytes(to, bytes.len()), bytes, "{from:x} to {to:x}");
        }
    }

    fn guard(machine: &mut Fake, kind: GuardKind, on: bool, pages: &[u64]) {
        let pages: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        done(machine, MemoryRequest::Guard { kind, on, pages: &pages });
    }

    fn done(machine: &mut Fake, request: MemoryRequest<'_>) {
        ask(machine, request, |reply| {
            assert_eq!(reply, MemoryReply::Done, "{request:x?}");
        });
    }

    const WRITE: Access =
        Access { write: true, execute: false, present: true, table_walk: false, delivery: false };

    #[test]
    fn a_guarded_page_is_reported_and_still_written_physically() {
        let mut machine = Fake::new();
        guard(&mut machine, GuardKind::Stores, true, &[AREA]);
        let fault = MemoryRequest::Fault { gpa: AREA, access: WRITE, view: View::Main };
        ask(&mut machine, fault, |reply| {
            assert_eq!(reply, MemoryReply::Fault(FaultVerdict::Guarded));
        });
        done(&mut machine, MemoryRequest::WritePhysical { gpa: AREA, data: &[1, 0] });
        assert_eq!(machine.bytes(AREA, 2), [1, 0]);
    }

    /// What `liveupdate` asks for around one write.
    #[test]
    fn a_guarded_write_goes_from_page_to_page() {
        const OBJECT: u64 = 0x20_0000;
        const TWIN: u64 = 0x30_0000;
        const SCRATCH: u64 = 0x40_0000;
        const COPY: u64 = 0x40_1000;
        let mut machine = Fake::new();
        let space = machine.address_space();
        for (address, gpa) in [(0x7000, OBJECT), (0x8000, TWIN), (0x9000, SCRATCH)] {
            machine.map_page(address, gpa, true);
        }
        guard(&mut machine, GuardKind::Carried, true, &[TWIN, OBJECT]);
        guard(&mut machine, GuardKind::Sealed, true, &[COPY]);
        guard(&mut machine, GuardKind::Provided, true, &[SCRATCH]);
        for (view, verdict) in
            [(View::Main, FaultVerdict::Carried), (View::Confined, FaultVerdict::Carried)]
        {
            let fault = MemoryRequest::Fault { gpa: OBJECT + 8, access: WRITE, view };
            ask(&mut machine, fault, |reply| assert_eq!(reply, MemoryReply::Fault(verdict)));
        }
        done(&mut machine, MemoryRequest::Open { gpa: OBJECT + 8, copy: COPY });
        machine.put(OBJECT + 8, &[0xaa]);
        ask(&mut machine, MemoryRequest::Changes { gpa: OBJECT }, |reply| {
            let mut changes = [0; 512];
            changes[1] = 1;
            assert_eq!(reply, MemoryReply::Bytes { data: &changes });
        });
        machine.put(SCRATCH, &[0xbb; 8]);
        let publish = MemoryRequest::Publish { space, from: 0x9000, to: 0x8010, length: 8 };
        done(&mut machine, publish);
        assert_eq!(machine.bytes(TWIN + 0x10, 8), [0xbb; 8]);
        done(&mut machine, MemoryRequest::Close);
        done(&mut machine, MemoryRequest::OpenTable { gpa: 0x50_0000 });
        done(&mut machine, MemoryRequest::Zero { space, address: 0x9000, length: 4096 });
        assert_eq!(machine.bytes(SCRATCH, 8), [0; 8]);
        guard(&mut machine, GuardKind::Carried, false, &[TWIN]);
        done(&mut machine, MemoryRequest::ReleaseAll);
        assert_eq!(crate::guards::all(&machine).count(), 0);
    }

    #[test]
    fn lists_of_pages_are_whole_words_and_not_too_many() {
        let mut machine = Fake::new();
        let kind = GuardKind::Sealed;
        for length in [7, 9, PAYLOAD_MAX + 8] {
            let request = MemoryRequest::Guard { kind, on: true, pages: &vec![0; length] };
            fails(&mut machine, request, MemoryError::TooLong);
        }
        done(&mut machine, MemoryRequest::Guard { kind, on: true, pages: &[] });
        // As many as a message holds, all of them the same.
        done(&mut machine, MemoryRequest::Guard { kind, on: true, pages: &[0; PAYLOAD_MAX] });
        assert_eq!(crate::guards::all(&machine).count(), 1);
    }

    proptest! {
        #[test]
        fn no_numbers_of_a_caller_break_the_task(
            root in any::<u64>(),
            five_levels in any::<bool>(),
            address in any::<u64>(),
            other in any::<u64>(),
            length in any::<u32>(),
        ) {
            let space = AddressSpace { root, five_levels };
            let mut machine = Fake::new();
            for request in [
                MemoryRequest::Translate { space, address },
                MemoryRequest::Read { space, address, length },
                MemoryRequest::Fetch { space, address, length: length as u8 },
                MemoryRequest::Write { space, address, data: &[0; 32] },
                MemoryRequest::ReadPhysical { gpa: address, length: length % 64 },
                MemoryRequest::CopyPhysical { from: address, to: other, length: other },
                MemoryRequest::Guard {
                    kind: GuardKind::Carried,
                    on: five_levels,
                    pages: &address.to_le_bytes(),
                },
                MemoryRequest::Open { gpa: address, copy: other },
                MemoryRequest::OpenTable { gpa: address },
                MemoryRequest::Changes { gpa: address },
                MemoryRequest::Close,
                MemoryRequest::Fault { gpa: address, access: WRITE, view: View::Main },
                MemoryRequest::Fault { gpa: address, access: WRITE, view: View::Confined },
                MemoryRequest::ReleaseAll,
            ] {
                ask(&mut machine, request, |_| {});
            }
        }
    }
}
