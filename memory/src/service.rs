//! Requests and replies.

use lucos_service::places::{Difference, PlaceError};
use lucos_service::{MemoryError, MemoryReply, MemoryRequest};

use crate::code;
use crate::map::GuestMap;
use crate::platform::Platform;
use crate::{access, guards, hash, space, translate};

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
        MemoryRequest::Guard { gpa, on } => {
            space::guard(platform, map, gpa, on)?;
            MemoryReply::Done
        }
        MemoryRequest::Fault { gpa, write, execute } => {
            MemoryReply::Fault(space::fault(platform, map, gpa, write, execute)?)
        }
        MemoryRequest::Hash => MemoryReply::Hash(hash::of_guest(platform, map)?),
        #[cfg(feature = "fault-injection")]
        MemoryRequest::EndAfterWrites { .. } => MemoryReply::Done,
        MemoryRequest::HiddenAccesses => MemoryReply::Count(guards::hidden_accesses(platform)),
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
    use lucos_service::{AddressSpace, FaultVerdict, MemoryError, MemoryReply, MemoryRequest};
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

    #[test]
    fn a_guarded_page_is_reported_and_still_written_physically() {
        let mut machine = Fake::new();
        let guard = MemoryRequest::Guard { gpa: AREA, on: true };
        ask(&mut machine, guard, |reply| {
            assert_eq!(reply, MemoryReply::Done);
        });
        let fault = MemoryRequest::Fault { gpa: AREA, write: true, execute: false };
        ask(&mut machine, fault, |reply| {
            assert_eq!(reply, MemoryReply::Fault(FaultVerdict::Guarded));
        });
        let data = &[1, 0];
        let write = MemoryRequest::WritePhysical { gpa: AREA, data };
        ask(&mut machine, write, |reply| {
            assert_eq!(reply, MemoryReply::Done);
        });
        assert_eq!(machine.bytes(AREA, 2), [1, 0]);
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
                MemoryRequest::Guard { gpa: address, on: true },
                MemoryRequest::Fault { gpa: address, write: five_levels, execute: !five_levels },
            ] {
                ask(&mut machine, request, |_| {});
            }
        }
    }
}
