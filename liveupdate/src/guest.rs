//! The guest's memory and processors, for one call of the guest.

use alloc::vec::Vec;
use core::fmt;

use lucos_service::{AddressSpace, LogBudget};
use lucos_transaction::machine::{Difference, Place, PlaceError, Target};
use lucos_transaction::{Machine, MachineError, Redirects};
use spin::RwLock;

use crate::platform::Platform;

/// The transaction's machine: a platform, seen from the address space of the caller.
///
/// The kernel's part of the address space is the same in all of them, and the caller's is one that
/// exists: the one in which a manager registered may be that of a process that has ended.
#[derive(Debug)]
pub struct Guest<'a, P> {
    platform: &'a mut P,
    space: AddressSpace,
    redirects: &'a RwLock<Redirects>,
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
    /// The machine for a call from `space`.
    pub fn new(platform: &'a mut P, space: AddressSpace, redirects: &'a RwLock<Redirects>) -> Self {
        Self { platform, space, redirects, stopping: 0, stops: 0, longest: 0, last: 0 }
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

    /// The stops so far.
    pub const fn stops(&self) -> Stops {
        Stops { count: self.stops, longest: self.longest, last: self.last }
    }
}

impl<P: Platform> Machine for Guest<'_, P> {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), MachineError> {
        self.platform.read(self.space, address, bytes)
    }

    fn compare(&mut self, places: &[Place<'_>]) -> Result<Option<Difference>, PlaceError> {
        self.platform.compare_code(self.space, places)
    }

    fn write(&mut self, places: &[Place<'_>]) -> Result<(), PlaceError> {
        self.platform.write_code(self.space, places)
    }

    fn stop(&mut self) -> Result<(), MachineError> {
        self.stopping = self.platform.time();
        self.platform.stop()?;
        self.stops += 1;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        let resumed = self.platform.resume();
        let ticks = self.platform.time().saturating_sub(self.stopping);
        self.longest = self.longest.max(ticks);
        self.last = ticks;
        resumed
    }

    fn stopped_at(&mut self) -> Result<Vec<u64>, MachineError> {
        let caller = self.platform.processor();
        let mut pointers = Vec::new();
        for processor in (0..self.platform.facts().processors()).filter(|&other| other != caller) {
            pointers.extend(self.platform.instruction_pointer(processor)?);
        }
        Ok(pointers)
    }

    fn intercept(&mut self, on: bool) -> Result<(), MachineError> {
        self.platform.intercept(on)
    }

    fn redirect(&mut self, site: u64, to: Option<Target>) {
        self.redirects.write().set(site, to);
    }

    fn now(&mut self) -> u64 {
        self.platform.time()
    }
}
