//! The guest's memory and processors, for one call of the guest.

use alloc::vec::Vec;
use core::fmt;

use lucos_abi::call::CallStatus;
use lucos_guest_interface::Part;
use lucos_service::client::Failure;
use lucos_service::{AddressSpace, LogBudget, MemoryError, places};
use lucos_transaction::patch::{CODE_MAX, FUNCTIONS_MAX};
use lucos_transaction::subject::{Difference, Place, PlaceError, Target};
use lucos_transaction::{Redirects, Subject, SubjectError};
use spin::RwLock;

use crate::coherence::{Coherence, Held};
use crate::platform::Platform;
use crate::versions::Prepared;

/// The transaction's subject: a platform, seen from the address space of the caller.
///
/// The kernel's part of the address space is the same in all of them, and the caller's is one that
/// exists: the one in which a manager registered may be that of a process that has ended.
#[derive(Debug)]
pub struct Guest<'a, P> {
    pub(crate) platform: &'a mut P,
    pub(crate) space: AddressSpace,
    redirects: &'a RwLock<Redirects>,
    pub(crate) coherence: &'a Coherence,
    /// The coherence lock, held while the guest is stopped.
    pub(crate) held: Option<Held<'a>>,
    /// What was made ready for the data that this call moves.
    pub(crate) prepared: Vec<Prepared>,
    /// Where an upcall of this call was ended.
    pub(crate) ended_at: Option<u64>,
    /// When the stop that lasts was asked for.
    stopping: u64,
    /// Stops so far.
    stops: u64,
    longest: u64,
    last: u64,
}

/// Stops of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    /// How many.
    pub count: u64,
    /// The longest, in time-stamp ticks from the request to stop until the guest was resumed.
    pub longest: u64,
    /// The last one, in the same ticks; 0 when there was none.
    pub last: u64,
}

impl<'a, P: Platform> Guest<'a, P> {
    /// The subject of a call from `space`.
    pub fn new(
        platform: &'a mut P,
        space: AddressSpace,
        redirects: &'a RwLock<Redirects>,
        coherence: &'a Coherence,
    ) -> Self {
        let [stopping, stops, longest, last] = [0; 4];
        let (held, prepared, ended_at) = (None, Vec::new(), None);
        Self {
            platform,
            space,
            redirects,
            coherence,
            held,
            prepared,
            ended_at,
            stopping,
            stops,
            longest,
            last,
        }
    }

    /// The platform.
    pub fn platform(&mut self) -> &mut P {
        self.platform
    }

    /// Writes a line to the log, if the budget has one.
    pub fn report(&mut self, budget: &LogBudget, line: fmt::Arguments<'_>) {
        budget.write(self.platform.time(), line, |line| self.platform.log(line));
    }

    /// The caller's address space.
    pub const fn space(&self) -> AddressSpace {
        self.space
    }

    /// How often the function at this place of the journal was called by way of its trap.
    pub fn calls(&self, function: usize) -> u64 {
        self.redirects.read().calls(function)
    }

    /// The stops so far.
    pub const fn stops(&self) -> Stops {
        Stops { count: self.stops, longest: self.longest, last: self.last }
    }
}

// One message holds all sites of an update.
const _: () = assert!(places::PLACES_MAX >= FUNCTIONS_MAX && places::PLACE_MAX >= CODE_MAX);

/// What a failure at an address that was asked for means for a transaction.
pub(crate) fn subject_error(failure: Failure, asked: u64) -> SubjectError {
    match failure {
        Failure::Memory(MemoryError::NotMapped { address } | MemoryError::ReadOnly { address }) => {
            SubjectError::NotMapped { address }
        }
        Failure::Memory(MemoryError::BadAddress | MemoryError::NotRam { .. }) => {
            SubjectError::NotMapped { address: asked }
        }
        Failure::Memory(MemoryError::TooLong) | Failure::Protocol => {
            SubjectError::Failed(Part::Liveupdate)
        }
        Failure::Memory(MemoryError::TooManyPages | MemoryError::OtherGuard { .. })
        | Failure::Restarted => SubjectError::Failed(Part::Memory),
        Failure::Memory(MemoryError::NoRoom | MemoryError::Kernel) => {
            SubjectError::Failed(Part::Kernel)
        }
        Failure::Kernel(CallStatus::Late) => SubjectError::Late,
        Failure::Kernel(CallStatus::Busy) => SubjectError::Busy,
        Failure::Kernel(_) => SubjectError::Failed(Part::Kernel),
    }
}

fn place_error(
    places::PlaceError { place, error }: places::PlaceError<Failure>,
    places: &[Place<'_>],
) -> PlaceError {
    let address = places.get(place).map_or(0, |place| place.address);
    PlaceError { place, error: subject_error(error, address) }
}

impl<P: Platform> Subject for Guest<'_, P> {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), SubjectError> {
        let read = self.platform.read(self.space, address, bytes);
        read.map_err(|failure| subject_error(failure, address))
    }

    fn compare(&mut self, places: &[Place<'_>]) -> Result<Option<Difference>, PlaceError> {
        let compared = self.platform.compare_code(self.space, places);
        compared.map_err(|error| place_error(error, places))
    }

    fn write(&mut self, places: &[Place<'_>]) -> Result<(), PlaceError> {
        let written = self.platform.write_code(self.space, places);
        written.map_err(|error| place_error(error, places))
    }

    fn stop(&mut self) -> Result<(), SubjectError> {
        // No processor is in the middle of a guarded write while another one stops it.
        let held = self.coherence.lock(self.platform);
        self.stopping = self.platform.time();
        self.platform.stop()?;
        self.held = Some(held);
        self.stops += 1;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), SubjectError> {
        let resumed = self.platform.resume();
        let ticks = self.platform.time().saturating_sub(self.stopping);
        self.longest = self.longest.max(ticks);
        self.last = ticks;
        self.held = None;
        resumed
    }

    fn stopped_at(&mut self) -> Result<Vec<u64>, SubjectError> {
        let caller = self.platform.processor();
        let mut pointers = Vec::new();
        for processor in (0..self.platform.facts().processors()).filter(|&other| other != caller) {
            pointers.extend(self.platform.registers(processor)?.map(|registers| registers.rip));
        }
        Ok(pointers)
    }

    fn intercept(&mut self, on: bool) -> Result<(), SubjectError> {
        self.platform.intercept(on)
    }

    fn redirect(&mut self, site: u64, to: Option<Target>) {
        self.redirects.write().set(site, to);
    }

    fn now(&mut self) -> u64 {
        self.platform.time()
    }
}

#[cfg(test)]
mod tests {
    use super::subject_error;
    use lucos_abi::call::CallStatus;
    use lucos_guest_interface::Part;
    use lucos_service::MemoryError;
    use lucos_service::client::Failure;
    use lucos_transaction::SubjectError;

    #[test]
    fn errors_say_who_is_at_fault() {
        let not_mapped = |address| SubjectError::NotMapped { address };
        for (failure, error) in [
            (Failure::Kernel(CallStatus::Late), SubjectError::Late),
            (Failure::Kernel(CallStatus::Busy), SubjectError::Busy),
            (Failure::Kernel(CallStatus::Full), SubjectError::Failed(Part::Kernel)),
            (Failure::Restarted, SubjectError::Failed(Part::Memory)),
            (Failure::Protocol, SubjectError::Failed(Part::Liveupdate)),
            (Failure::Memory(MemoryError::TooLong), SubjectError::Failed(Part::Liveupdate)),
            (Failure::Memory(MemoryError::TooManyPages), SubjectError::Failed(Part::Memory)),
            (Failure::Memory(MemoryError::NoRoom), SubjectError::Failed(Part::Kernel)),
            (Failure::Memory(MemoryError::NotRam { gpa: 5 }), not_mapped(0x1000)),
            (Failure::Memory(MemoryError::ReadOnly { address: 0x2000 }), not_mapped(0x2000)),
        ] {
            assert_eq!(subject_error(failure, 0x1000), error);
        }
    }
}
