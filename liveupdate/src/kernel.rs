//! The platform of the real task: messages to the kernel and to `memory`.

use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Object;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{COUNTERS, MachineReply, MachineRequest};
use lucos_abi::registers::Registers;
use lucos_guest_interface::status::{
    ASSIST_CLEAN_BITS, ASSIST_DECODE, ASSIST_FLUSH_BY_ASID, ASSIST_NEXT_RIP, ASSIST_PAUSE_FILTER,
    ASSIST_VIRTUAL_NMI, CONTAINS_INIT, Extension,
};
use lucos_runtime::{CallError, Journal, Thread, read_log, time_stamp};
use lucos_service::places::{self, Payload};
use lucos_service::{AddressSpace, MEMORY, MemoryError, MemoryReply, MemoryRequest};
use lucos_system_info::SystemInfo;
use lucos_transaction::MachineError;
use lucos_transaction::journal::{Store, StoreError};
use lucos_transaction::machine::{Difference, Place, PlaceError};
use lucos_transaction::patch::{CODE_MAX, FUNCTIONS_MAX};

use crate::platform::{Facts, Platform};

/// How long a stop may take, in time-stamp ticks: about a second. Processors arrive within
/// microseconds, and one that does not arrive at all is broken; but an emulator on a busy machine
/// was seen not to run a processor for a third of a billion ticks.
const STOP_DEADLINE: u64 = 3_000_000_000;

/// One thread of the task.
#[derive(Debug)]
pub struct Kernel<'a> {
    /// The thread.
    pub thread: &'a mut Thread,
    /// Number of its processor.
    pub processor: u32,
    /// What does not change.
    pub facts: Facts,
    /// What survives a restart.
    pub pages: RetainedPages,
}

/// The facts, from the kernel's description of the machine.
pub fn facts(info: &'static SystemInfo) -> Facts {
    let (extension, assists, contains_init) = match info.extension {
        lucos_system_info::Extension::Svm { features, contains_init } => {
            (Extension::Svm, svm_assists(features), contains_init)
        }
        lucos_system_info::Extension::Vtx => (Extension::Vmx, 0, false),
    };
    Facts {
        apic_ids: &info.apic_ids,
        region: info.region,
        extension: extension.number(),
        containment: if contains_init { CONTAINS_INIT } else { 0 },
        assists,
    }
}

/// What this AMD-V has (EDX of CPUID Fn8000_000A).
fn svm_assists(edx: u32) -> u32 {
    let bits = [
        (3, ASSIST_NEXT_RIP),
        (5, ASSIST_CLEAN_BITS),
        (6, ASSIST_FLUSH_BY_ASID),
        (7, ASSIST_DECODE),
        (10, ASSIST_PAUSE_FILTER),
        (25, ASSIST_VIRTUAL_NMI),
    ];
    let present = bits.into_iter().filter(|(bit, _)| edx & 1 << bit != 0);
    present.fold(0, |assists, (_, assist)| assists | assist)
}

impl Kernel<'_> {
    fn machine(&mut self, request: &MachineRequest) -> Result<MachineReply<'_>, MachineError> {
        self.thread.call(Object::Machine, request).map_err(machine_error)
    }

    fn done(&mut self, request: &MachineRequest) -> Result<(), MachineError> {
        match self.machine(request)? {
            MachineReply::Done => Ok(()),
            _ => Err(MachineError::Failed),
        }
    }

    /// Asks `memory`, and makes a value of its reply. A `memory` that is restarted is asked again:
    /// it may do the same twice.
    pub(crate) fn memory<T>(
        &mut self,
        address: u64,
        request: &MemoryRequest<'_>,
        mut value: impl FnMut(MemoryReply<'_>) -> Result<T, MachineError>,
    ) -> Result<T, MachineError> {
        for _ in 0..ATTEMPTS {
            match self.thread.call(MEMORY, request) {
                Err(CallError::Status(CallStatus::Restarted)) => {}
                Err(error) => return Err(machine_error(error)),
                Ok(MemoryReply::Failed(error)) => return Err(memory_error(error, address)),
                Ok(reply) => return value(reply),
            }
        }
        Err(MachineError::Failed)
    }
}

/// How often `memory` is asked when it is restarted while it works on the question.
const ATTEMPTS: usize = 4;

fn machine_error(error: CallError) -> MachineError {
    match error {
        CallError::Status(CallStatus::Late) => MachineError::Late,
        CallError::Status(CallStatus::Busy) => MachineError::Busy,
        _ => MachineError::Failed,
    }
}

fn memory_error(error: MemoryError, asked: u64) -> MachineError {
    match error {
        MemoryError::NotMapped { address } | MemoryError::ReadOnly { address } => {
            MachineError::NotMapped { address }
        }
        MemoryError::BadAddress | MemoryError::NotRam { .. } => {
            MachineError::NotMapped { address: asked }
        }
        MemoryError::TooLong | MemoryError::NoMoreGuards => MachineError::Failed,
    }
}

// One message holds all sites of an update.
const _: () = assert!(places::PLACES_MAX >= FUNCTIONS_MAX && places::PLACE_MAX >= CODE_MAX);

/// Nothing is known of a place: the first one is as good as any.
const fn first(error: MachineError) -> PlaceError {
    PlaceError { place: 0, error }
}

fn add(code: &[Place<'_>], payload: &mut Payload) -> Result<(), PlaceError> {
    let push = |&Place { address, bytes }| places::push(payload, places::Place { address, bytes });
    code.iter().try_for_each(push).ok_or(first(MachineError::Failed))
}

fn place_error(places: &[Place<'_>], reply: MemoryReply<'_>) -> PlaceError {
    let MemoryReply::FailedAt { place, error } = reply else {
        return first(MachineError::Failed);
    };
    let place = place as usize;
    let address = places.get(place).map_or(0, |place| place.address);
    PlaceError { place, error: memory_error(error, address) }
}

impl Platform for Kernel<'_> {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn processor(&self) -> u32 {
        self.processor
    }

    fn read(
        &mut self,
        space: AddressSpace,
        address: u64,
        bytes: &mut [u8],
    ) -> Result<(), MachineError> {
        for (index, part) in bytes.chunks_mut(PAYLOAD_MAX).enumerate() {
            let address = address.wrapping_add((index * PAYLOAD_MAX) as u64);
            let request = MemoryRequest::Read {
                space,
                address,
                // At most `PAYLOAD_MAX`.
                length: part.len() as u32,
            };
            self.memory(address, &request, |reply| match reply {
                MemoryReply::Bytes { data } if data.len() == part.len() => {
                    part.copy_from_slice(data);
                    Ok(())
                }
                _ => Err(MachineError::Failed),
            })?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        space: AddressSpace,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), MachineError> {
        let request = MemoryRequest::Write { space, address, data: bytes };
        self.memory(address, &request, |reply| match reply {
            MemoryReply::Done => Ok(()),
            _ => Err(MachineError::Failed),
        })
    }

    fn compare_code(
        &mut self,
        space: AddressSpace,
        places: &[Place<'_>],
    ) -> Result<Option<Difference>, PlaceError> {
        let mut payload = Payload::new();
        add(places, &mut payload)?;
        let request = MemoryRequest::CompareCode { space, places: &payload };
        let answer = self.memory(0, &request, |reply| {
            Ok(match reply {
                MemoryReply::Done => Ok(None),
                MemoryReply::Differs { place, offset } => {
                    let (place, offset) = (place as usize, offset as usize);
                    Ok(Some(Difference { place, offset }))
                }
                reply => Err(place_error(places, reply)),
            })
        });
        answer.map_err(first)?
    }

    fn write_code(&mut self, space: AddressSpace, places: &[Place<'_>]) -> Result<(), PlaceError> {
        let mut payload = Payload::new();
        add(places, &mut payload)?;
        let request = MemoryRequest::WriteCode { space, places: &payload };
        let answer = self.memory(0, &request, |reply| {
            Ok(match reply {
                MemoryReply::Done => Ok(()),
                reply => Err(place_error(places, reply)),
            })
        });
        answer.map_err(first)?
    }

    fn time(&mut self) -> u64 {
        time_stamp()
    }

    fn stop(&mut self) -> Result<(), MachineError> {
        self.done(&MachineRequest::Stop { deadline: STOP_DEADLINE })
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        self.done(&MachineRequest::Resume)
    }

    fn instruction_pointer(&mut self, processor: u32) -> Result<Option<u64>, MachineError> {
        match self.machine(&MachineRequest::Registers { cpu: processor })? {
            MachineReply::Registers { registers: [] } => Ok(None),
            MachineReply::Registers { registers } => Registers::from_bytes(registers)
                .map(|registers| Some(registers.rip))
                .ok_or(MachineError::Failed),
            _ => Err(MachineError::Failed),
        }
    }

    fn intercept(&mut self, on: bool) -> Result<(), MachineError> {
        self.done(&MachineRequest::InterceptInvalidOpcode { on })
    }

    fn forward_kicks(&mut self, on: bool) -> Result<(), MachineError> {
        self.done(&MachineRequest::ForwardKicks { on })
    }

    fn counters(&mut self) -> Result<[u64; COUNTERS], MachineError> {
        match self.machine(&MachineRequest::Counters)? {
            MachineReply::Counters { counts } => Ok(counts),
            _ => Err(MachineError::Failed),
        }
    }

    fn retain_redirections(&mut self, count: u64) {
        self.pages.retain_redirections(count);
    }

    fn hidden_accesses(&mut self) -> Result<u64, MachineError> {
        self.memory(0, &MemoryRequest::HiddenAccesses, |reply| match reply {
            MemoryReply::Count(count) => Ok(count),
            _ => Err(MachineError::Failed),
        })
    }

    fn read_log(&mut self, offset: u64, bytes: &mut [u8]) -> (u64, usize) {
        read_log(offset, bytes)
    }

    fn log(&mut self, line: core::fmt::Arguments<'_>) {
        self.thread.log(line);
    }
}

/// The retained pages of the real task: the journal of updates, and behind it, in the last eight
/// bytes, the number of redirections.
#[derive(Clone, Copy, Debug)]
pub struct RetainedPages(pub Journal);

const REDIRECTIONS_SIZE: usize = size_of::<u64>();

impl RetainedPages {
    /// Redirections that the task counted in its earlier lives.
    pub fn redirections(&self) -> u64 {
        let mut bytes = [0; REDIRECTIONS_SIZE];
        match self.0.read(self.len(), &mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => 0,
        }
    }

    fn retain_redirections(&self, count: u64) {
        // Only a figure; without a journal nothing is redirected.
        let _ = self.0.write(self.len(), &count.to_le_bytes());
    }
}

impl Store for RetainedPages {
    fn len(&self) -> usize {
        self.0.len().saturating_sub(REDIRECTIONS_SIZE)
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.0.read(offset, bytes).map_err(|_| StoreError)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), StoreError> {
        let end = offset.checked_add(bytes.len()).ok_or(StoreError)?;
        if end > self.len() {
            return Err(StoreError);
        }
        self.0.write(offset, bytes).map_err(|_| StoreError)
    }
}

#[cfg(test)]
mod tests {
    use super::{machine_error, memory_error, svm_assists};
    use lucos_abi::call::CallStatus;
    use lucos_guest_interface::status::{ASSIST_DECODE, ASSIST_NEXT_RIP};
    use lucos_runtime::CallError;
    use lucos_service::MemoryError;
    use lucos_transaction::MachineError;

    #[test]
    fn assists_are_found_by_their_bits() {
        assert_eq!(svm_assists(0), 0);
        assert_eq!(svm_assists(1 << 3 | 1 << 7 | 1), ASSIST_NEXT_RIP | ASSIST_DECODE);
    }

    #[test]
    fn errors_keep_their_meaning() {
        let late = CallError::Status(CallStatus::Late);
        assert_eq!(machine_error(late), MachineError::Late);
        let busy = CallError::Status(CallStatus::Busy);
        assert_eq!(machine_error(busy), MachineError::Busy);
        let other = CallError::Status(CallStatus::Restarted);
        assert_eq!(machine_error(other), MachineError::Failed);
        assert_eq!(
            memory_error(MemoryError::NotRam { gpa: 5 }, 0x1000),
            MachineError::NotMapped { address: 0x1000 }
        );
        assert_eq!(
            memory_error(MemoryError::ReadOnly { address: 0x2000 }, 0x1000),
            MachineError::NotMapped { address: 0x2000 }
        );
        assert_eq!(memory_error(MemoryError::TooLong, 0), MachineError::Failed);
    }
}
