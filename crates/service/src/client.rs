//! The clients of `memory` and `liveupdate`: questions to another task, and what comes of them.

use core::fmt;

use lucos_abi::call::CallStatus;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{Access, View};
use lucos_runtime::{CallError, Thread};

use crate::places::{self, Difference, Payload, Place, PlaceError};
use crate::{
    AddressSpace, FaultVerdict, GuardKind, LIVEUPDATE, LiveupdateReply, LiveupdateRequest,
    MAX_GUARD_REQUEST, MEMORY, MemoryError, MemoryReply, MemoryRequest,
};

/// Why something was not done, and so who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The task `memory` says why; mostly the guest is at fault.
    Memory(MemoryError),
    /// The kernel says why.
    Kernel(CallStatus),
    /// The other task was restarted, each time it was asked.
    Restarted,
    /// LUCOS does not fit together: a reply of another request, or a request that is no message.
    Protocol,
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => write!(to, "memory: {error:x?}"),
            Self::Kernel(status) => write!(to, "the kernel: {status:?}"),
            Self::Restarted => to.write_str("the other task was restarted"),
            Self::Protocol => to.write_str("unexpected reply"),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Status(CallStatus::Restarted) => Self::Restarted,
            CallError::Status(status) => Self::Kernel(status),
            _ => Self::Protocol,
        }
    }
}

/// The pages of one request, as a message holds them.
type Words = heapless::Vec<u8, PAYLOAD_MAX>;

/// How often a task is asked that is restarted while it works on the question. Asking again is
/// right: `memory` may do the same twice, and `liveupdate` knows what it has done.
const ATTEMPTS: usize = 4;

/// Asks until the answer is another than that the task was restarted.
fn persist<T>(mut ask: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    for _ in 1..ATTEMPTS {
        match ask() {
            Err(Failure::Restarted) => {}
            answer => return answer,
        }
    }
    ask()
}

/// Asks `liveupdate`.
///
/// # Errors
/// [`Failure::Restarted`], [`Failure::Kernel`], [`Failure::Protocol`]
pub fn ask_liveupdate(
    thread: &mut Thread,
    request: &LiveupdateRequest,
) -> Result<LiveupdateReply, Failure> {
    persist(|| Ok(thread.call(LIVEUPDATE, request)?))
}

/// What `memory` does for other tasks.
///
/// Lengths are any; what is longer than a message is cut into several. Then "all or none" holds for
/// each [`PAYLOAD_MAX`] bytes.
pub trait Memory {
    /// Asks `memory`, again when it is restarted meanwhile, and makes a value of its reply.
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::Memory`] for [`MemoryReply::Failed`], which `value` never gets.
    fn ask<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure>;

    /// Asks for something that has no result.
    ///
    /// # Errors
    /// [`Failure`]
    fn order(&mut self, request: &MemoryRequest<'_>) -> Result<(), Failure> {
        self.ask(request, |reply| match reply {
            MemoryReply::Done => Ok(()),
            _ => Err(Failure::Protocol),
        })
    }

    /// Reads bytes at a guest-virtual address.
    ///
    /// # Errors
    /// [`Failure`]; `to` then holds anything.
    fn read(&mut self, space: AddressSpace, address: u64, to: &mut [u8]) -> Result<(), Failure> {
        for (at, part) in starts(address).zip(to.chunks_mut(PAYLOAD_MAX)) {
            // A part is no longer than a message.
            let length = part.len() as u32;
            fill(self, &MemoryRequest::Read { space, address: at, length }, part)?;
        }
        Ok(())
    }

    /// Writes bytes at a guest-virtual address, where the guest itself may write.
    ///
    /// # Errors
    /// [`Failure`]
    fn write(&mut self, space: AddressSpace, address: u64, data: &[u8]) -> Result<(), Failure> {
        for (at, data) in starts(address).zip(data.chunks(PAYLOAD_MAX)) {
            self.order(&MemoryRequest::Write { space, address: at, data })?;
        }
        Ok(())
    }

    /// Copies up to `to.len()` (1 to 15) bytes of code, and returns how many: fewer when the next
    /// page is not mapped.
    ///
    /// # Errors
    /// [`Failure`] when not even the first byte can be read.
    fn fetch(
        &mut self,
        space: AddressSpace,
        address: u64,
        to: &mut [u8],
    ) -> Result<usize, Failure> {
        let length = u8::try_from(to.len()).map_err(|_| Failure::Protocol)?;
        copy(self, &MemoryRequest::Fetch { space, address, length }, to)
    }

    /// Reads bytes at a guest-physical address.
    ///
    /// # Errors
    /// [`Failure`]; `to` then holds anything.
    fn read_physical(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Failure> {
        for (gpa, part) in starts(gpa).zip(to.chunks_mut(PAYLOAD_MAX)) {
            let length = part.len() as u32;
            fill(self, &MemoryRequest::ReadPhysical { gpa, length }, part)?;
        }
        Ok(())
    }

    /// Writes bytes at a guest-physical address.
    ///
    /// # Errors
    /// [`Failure`]
    fn write_physical(&mut self, gpa: u64, data: &[u8]) -> Result<(), Failure> {
        for (gpa, data) in starts(gpa).zip(data.chunks(PAYLOAD_MAX)) {
            self.order(&MemoryRequest::WritePhysical { gpa, data })?;
        }
        Ok(())
    }

    /// Copies within guest RAM; all or none.
    ///
    /// # Errors
    /// [`Failure`]
    fn copy_physical(&mut self, from: u64, to: u64, length: u64) -> Result<(), Failure> {
        self.order(&MemoryRequest::CopyPhysical { from, to, length })
    }

    /// Has `vmx` do the guest's stores to a page.
    ///
    /// # Errors
    /// [`Failure`]
    fn guard_stores(&mut self, gpa: u64) -> Result<(), Failure> {
        let pages = &gpa.to_le_bytes();
        self.order(&MemoryRequest::Guard { kind: GuardKind::Stores, on: true, pages })
    }

    /// The guest-physical address of a guest-virtual one.
    ///
    /// # Errors
    /// [`Failure`]
    fn translate(&mut self, space: AddressSpace, address: u64) -> Result<u64, Failure> {
        self.ask(&MemoryRequest::Translate { space, address }, |reply| match reply {
            MemoryReply::Address { gpa } => Ok(gpa),
            _ => Err(Failure::Protocol),
        })
    }

    /// Guards pages, or ends that: any number of them, [`MAX_GUARD_REQUEST`] at a time, all of them
    /// or none.
    ///
    /// # Errors
    /// [`Failure`]; the first ones may be guarded, or no longer.
    fn guard(&mut self, kind: GuardKind, on: bool, pages: &[u64]) -> Result<(), Failure> {
        for pages in pages.chunks(MAX_GUARD_REQUEST) {
            let mut words = Words::new();
            for page in pages {
                words.extend_from_slice(&page.to_le_bytes()).map_err(|_| Failure::Protocol)?;
            }
            self.order(&MemoryRequest::Guard { kind, on, pages: &words })?;
        }
        Ok(())
    }

    /// Pages with a guard of a kind, ascending, from an address on: at most as many as a message holds.
    ///
    /// # Errors
    /// [`Failure`]
    fn guards(
        &mut self,
        kind: GuardKind,
        from: u64,
    ) -> Result<heapless::Vec<u64, MAX_GUARD_REQUEST>, Failure> {
        self.ask(&MemoryRequest::Guards { kind, from }, |reply| {
            let MemoryReply::Bytes { data } = reply else { return Err(Failure::Protocol) };
            let (words, rest) = data.as_chunks();
            if !rest.is_empty() || words.len() > MAX_GUARD_REQUEST {
                return Err(Failure::Protocol);
            }
            Ok(words.iter().copied().map(u64::from_le_bytes).collect())
        })
    }

    /// Which bytes of a page have changed since it was opened: 512 bytes, a bit for each.
    ///
    /// # Errors
    /// [`Failure`]
    fn changes(&mut self, gpa: u64, bits: &mut [u8]) -> Result<(), Failure> {
        fill(self, &MemoryRequest::Changes { gpa }, bits)
    }

    /// Asks what a nested page fault means, and mends what can be mended.
    ///
    /// # Errors
    /// [`Failure`]
    fn nested_fault(
        &mut self,
        gpa: u64,
        access: Access,
        view: View,
    ) -> Result<FaultVerdict, Failure> {
        self.ask(&MemoryRequest::Fault { gpa, access, view }, |reply| match reply {
            MemoryReply::Fault(verdict) => Ok(verdict),
            _ => Err(Failure::Protocol),
        })
    }

    /// Compares code with what it should be, and tells the first byte that differs. At most
    /// [`places::PLACES_MAX`] places.
    ///
    /// # Errors
    /// [`PlaceError`]
    fn compare_code(
        &mut self,
        space: AddressSpace,
        code: &[Place<'_>],
    ) -> Result<Option<Difference>, PlaceError<Failure>> {
        let payload = payload(code)?;
        let request = MemoryRequest::CompareCode { space, places: &payload };
        let answer = self.ask(&request, |reply| {
            Ok(match reply {
                MemoryReply::Done => Ok(None),
                MemoryReply::Differs { place, offset } => {
                    Ok(Some(Difference { place: place as usize, offset: offset as usize }))
                }
                reply => Err(place_error(reply)),
            })
        });
        answer.map_err(first)?
    }

    /// Writes code, place by place, also where the guest itself may not write. Nothing is written
    /// unless all of it can be. At most [`places::PLACES_MAX`] places.
    ///
    /// # Errors
    /// [`PlaceError`]; with another [`Failure`] than that of `memory` some of the first places may be
    /// written.
    fn write_code(
        &mut self,
        space: AddressSpace,
        code: &[Place<'_>],
    ) -> Result<(), PlaceError<Failure>> {
        let payload = payload(code)?;
        let request = MemoryRequest::WriteCode { space, places: &payload };
        let answer = self.ask(&request, |reply| {
            Ok(match reply {
                MemoryReply::Done => Ok(()),
                reply => Err(place_error(reply)),
            })
        });
        answer.map_err(first)?
    }

    /// How often the guest wrote to memory that LUCOS hides, or executed there.
    ///
    /// # Errors
    /// [`Failure`]
    fn hidden_accesses(&mut self) -> Result<u64, Failure> {
        self.ask(&MemoryRequest::HiddenAccesses, |reply| match reply {
            MemoryReply::Count(count) => Ok(count),
            _ => Err(Failure::Protocol),
        })
    }
}

impl Memory for Thread {
    fn ask<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        mut value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        persist(|| match self.call(MEMORY, request)? {
            MemoryReply::Failed(error) => Err(Failure::Memory(error)),
            reply => value(reply),
        })
    }
}

/// Where the messages start into which an access is cut. Beyond the end of the address space is
/// nothing, and `memory` says so.
fn starts(address: u64) -> impl Iterator<Item = u64> {
    (0_u64..).map(move |index| address.saturating_add(index.saturating_mul(PAYLOAD_MAX as u64)))
}

/// Copies the bytes of a reply to the start of `to`, and returns how many there are.
fn copy<M: Memory + ?Sized>(
    memory: &mut M,
    request: &MemoryRequest<'_>,
    to: &mut [u8],
) -> Result<usize, Failure> {
    memory.ask(request, |reply| {
        let MemoryReply::Bytes { data } = reply else { return Err(Failure::Protocol) };
        to.get_mut(..data.len()).ok_or(Failure::Protocol)?.copy_from_slice(data);
        Ok(data.len())
    })
}

/// The reply has as many bytes as there is room.
fn fill<M: Memory + ?Sized>(
    memory: &mut M,
    request: &MemoryRequest<'_>,
    to: &mut [u8],
) -> Result<(), Failure> {
    match copy(memory, request, to)? == to.len() {
        true => Ok(()),
        false => Err(Failure::Protocol),
    }
}

/// Nothing is known of a place: the first one is as good as any.
const fn first(error: Failure) -> PlaceError<Failure> {
    PlaceError { place: 0, error }
}

fn payload(code: &[Place<'_>]) -> Result<Payload, PlaceError<Failure>> {
    let mut payload = Payload::new();
    let added = code.iter().try_for_each(|place| places::push(&mut payload, *place));
    added.ok_or(first(Failure::Protocol)).map(|()| payload)
}

fn place_error(reply: MemoryReply<'_>) -> PlaceError<Failure> {
    match reply {
        MemoryReply::FailedAt { place, error } => {
            PlaceError { place: place as usize, error: Failure::Memory(error) }
        }
        _ => first(Failure::Protocol),
    }
}

#[cfg(test)]
mod tests;
