use super::{ATTEMPTS, Failure, Memory, persist};
use crate::places::{self, Difference, Place, PlaceError};
use crate::{AddressSpace, MemoryError, MemoryReply, MemoryRequest};
use lucos_abi::call::CallStatus;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{Access, View};
use lucos_runtime::CallError;

const SPACE: AddressSpace = AddressSpace { root: 0x1000, five_levels: false };

/// Bytes at the addresses from 0 on; all spaces are the same.
struct Bytes {
    bytes: Vec<u8>,
    /// Address and length of each access.
    accesses: Vec<(u64, usize)>,
    /// Replies this instead.
    reply: Option<MemoryReply<'static>>,
}

impl Bytes {
    fn new(length: usize) -> Self {
        let bytes = (0..length).map(|at| (at % 251) as u8).collect();
        Self { bytes, accesses: Vec::new(), reply: None }
    }

    fn replying(reply: MemoryReply<'static>) -> Self {
        Self { reply: Some(reply), ..Self::new(16) }
    }

    fn place(&mut self, address: u64, length: usize) -> Result<&mut [u8], Failure> {
        self.accesses.push((address, length));
        let missing = Failure::Memory(MemoryError::NotMapped { address });
        let start = address as usize;
        self.bytes.get_mut(start..start.saturating_add(length)).ok_or(missing)
    }
}

impl Memory for Bytes {
    fn ask<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        mut value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if let Some(reply) = self.reply {
            return value(reply);
        }
        match *request {
            MemoryRequest::Read { address, length, .. }
            | MemoryRequest::ReadPhysical { gpa: address, length } => {
                let data = self.place(address, length as usize)?;
                value(MemoryReply::Bytes { data })
            }
            MemoryRequest::Write { address, data, .. }
            | MemoryRequest::WritePhysical { gpa: address, data } => {
                self.place(address, data.len())?.copy_from_slice(data);
                value(MemoryReply::Done)
            }
            _ => panic!("{request:?}"),
        }
    }
}

/// Asks a task that is restarted a number of times before it answers.
fn asked(restarts: usize) -> (Result<u8, Failure>, usize) {
    let mut questions = 0;
    let answer = persist(|| {
        questions += 1;
        match questions > restarts {
            true => Ok(7),
            false => Err(Failure::Restarted),
        }
    });
    (answer, questions)
}

#[test]
fn a_task_that_is_restarted_is_asked_again_but_not_for_ever() {
    assert_eq!(asked(0), (Ok(7), 1));
    assert_eq!(asked(ATTEMPTS - 1), (Ok(7), ATTEMPTS));
    assert_eq!(asked(ATTEMPTS), (Err(Failure::Restarted), ATTEMPTS));
}

#[test]
fn other_failures_are_final_and_say_who_is_at_fault() {
    let mut questions = 0;
    let refused = Failure::Kernel(CallStatus::Refused);
    let answer = persist(|| {
        questions += 1;
        Err::<(), _>(refused)
    });
    assert_eq!((answer, questions), (Err(refused), 1));
    assert_eq!(Failure::from(CallError::Status(CallStatus::Refused)), refused);
    assert_eq!(Failure::from(CallError::Status(CallStatus::Restarted)), Failure::Restarted);
    assert_eq!(Failure::from(CallError::TooLong), Failure::Protocol);
    assert_eq!(Failure::from(CallError::UnknownStatus(99)), Failure::Protocol);
}

#[test]
fn long_accesses_are_cut_into_messages() {
    let length = 2 * PAYLOAD_MAX + 3;
    let mut memory = Bytes::new(length + 10);
    let expected = memory.bytes[5..5 + length].to_vec();
    let mut read = vec![0; length];
    memory.read(SPACE, 5, &mut read).unwrap();
    assert_eq!(read, expected);
    let max = PAYLOAD_MAX as u64;
    let cut = [(5, PAYLOAD_MAX), (5 + max, PAYLOAD_MAX), (5 + 2 * max, 3)];
    assert_eq!(memory.accesses, cut);
    read.fill(0);
    memory.read_physical(5, &mut read).unwrap();
    assert_eq!(read, expected);
    memory.accesses.clear();
    let data = vec![0xaa; length];
    memory.write(SPACE, 5, &data).unwrap();
    assert_eq!(memory.accesses, cut);
    assert_eq!(memory.bytes[5..5 + length], data);
    memory.write_physical(1, &data).unwrap();
    assert_eq!(memory.bytes[1..1 + length], data);
}

#[test]
fn an_access_at_the_end_of_the_address_space_does_not_come_round() {
    let mut memory = Bytes::new(16);
    let error = memory.write_physical(u64::MAX - 1, &vec![1; PAYLOAD_MAX + 2]);
    let missing = MemoryError::NotMapped { address: u64::MAX - 1 };
    assert_eq!(error, Err(Failure::Memory(missing)));
    assert_eq!(memory.bytes, Bytes::new(16).bytes);
}

#[test]
fn a_reply_of_another_request_or_length_is_no_answer() {
    let mut room = [0; 4];
    for data in [&[][..], &[1; 3], &[1; 5]] {
        let mut memory = Bytes::replying(MemoryReply::Bytes { data });
        assert_eq!(memory.read(SPACE, 0, &mut room), Err(Failure::Protocol));
        assert_eq!(memory.read_physical(0, &mut room), Err(Failure::Protocol));
    }
    let mut memory = Bytes::replying(MemoryReply::Bytes { data: &[1; 3] });
    assert_eq!(memory.fetch(SPACE, 0, &mut room), Ok(3));
    assert_eq!(memory.write(SPACE, 0, &room), Err(Failure::Protocol));
    assert_eq!(memory.guard_stores(0), Err(Failure::Protocol));
    assert_eq!(memory.hidden_accesses(), Err(Failure::Protocol));
    assert_eq!(memory.nested_fault(0, Access::default(), View::Main), Err(Failure::Protocol));
    let mut memory = Bytes::replying(MemoryReply::Done);
    assert_eq!(memory.fetch(SPACE, 0, &mut room), Err(Failure::Protocol));
}

#[test]
fn code_has_its_places_and_errors_name_one() {
    let code = [Place { address: 1, bytes: &[1] }, Place { address: 2, bytes: &[2, 3] }];
    let mut memory = Bytes::replying(MemoryReply::Differs { place: 1, offset: 1 });
    let difference = Difference { place: 1, offset: 1 };
    assert_eq!(memory.compare_code(SPACE, &code), Ok(Some(difference)));
    let protocol = PlaceError { place: 0, error: Failure::Protocol };
    assert_eq!(memory.write_code(SPACE, &code), Err(protocol));
    let error = MemoryError::ReadOnly { address: 2 };
    let mut memory = Bytes::replying(MemoryReply::FailedAt { place: 1, error });
    let failed = PlaceError { place: 1, error: Failure::Memory(error) };
    assert_eq!(memory.write_code(SPACE, &code), Err(failed));
    assert_eq!(memory.compare_code(SPACE, &code), Err(failed));
    let mut memory = Bytes::replying(MemoryReply::Done);
    assert_eq!(memory.compare_code(SPACE, &code), Ok(None));
    assert_eq!(memory.write_code(SPACE, &code), Ok(()));
    let long = [0; places::PLACE_MAX + 1];
    let too_long = [Place { address: 1, bytes: &long }];
    assert_eq!(memory.write_code(SPACE, &too_long), Err(protocol));
}
