//! Where an invalid opcode of the guest leads.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::subject::Target;

/// What an invalid opcode means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A trap: the guest goes on there.
    Redirect {
        /// Address of the new function.
        entry: u64,
    },
    /// There was a trap until a moment ago: the guest tries the instruction again.
    Again,
    /// The guest's own.
    NotOurs,
}

#[derive(Debug)]
struct Site {
    address: u64,
    target: Option<Target>,
    /// How often `Again` may still be the answer.
    again: AtomicU32,
}

/// All traps, for lookups from several processors at once.
#[derive(Debug)]
pub struct Redirects {
    sites: Vec<Site>,
    /// Calls that came by way of a trap, by function of the journal.
    calls: Vec<AtomicU64>,
    redirections: AtomicU64,
    processors: u32,
}

impl Redirects {
    /// No traps, for a journal of this many functions and a machine of this many processors.
    pub fn new(functions: usize, processors: u32) -> Self {
        let mut calls = Vec::new();
        calls.resize_with(functions, AtomicU64::default);
        Self { sites: Vec::new(), calls, redirections: AtomicU64::new(0), processors }
    }

    /// Sets where a trap at `site` leads; with `None` the trap is gone.
    ///
    /// A processor can have met the trap just before it went, and ask only now. Each can do so
    /// once; more often the instruction there is the guest's own invalid opcode.
    pub fn set(&mut self, site: u64, target: Option<Target>) {
        if let Some(target) = target.filter(|target| target.is_new)
            && let Some(calls) = self.calls.get(target.function)
        {
            calls.store(0, Ordering::Relaxed);
        }
        match self.find(site) {
            Ok(index) => {
                if let Some(entry) = self.sites.get_mut(index) {
                    if entry.target.is_some() && target.is_none() {
                        entry.again = AtomicU32::new(self.processors);
                    }
                    entry.target = target;
                }
            }
            Err(index) if target.is_some() => {
                let again = AtomicU32::new(0);
                let entry = Site { address: site, target, again };
                self.sites.insert(index, entry);
            }
            Err(_) => {}
        }
        self.forget_old();
    }

    /// What an invalid opcode at `rip` means; counts the call.
    pub fn look_up(&self, rip: u64) -> Lookup {
        let Some(site) = self.find(rip).ok().and_then(|index| self.sites.get(index)) else {
            return Lookup::NotOurs;
        };
        if let Some(target) = site.target {
            if let Some(calls) = self.calls.get(target.function) {
                calls.fetch_add(1, Ordering::Relaxed);
            }
            self.redirections.fetch_add(1, Ordering::Relaxed);
            return Lookup::Redirect { entry: target.entry };
        }
        let one_less = |again: u32| again.checked_sub(1);
        match site.again.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Lookup::Again,
            Err(_) => Lookup::NotOurs,
        }
    }

    /// Calls of a function of the journal that came by way of its trap, since it was applied.
    pub fn calls(&self, function: usize) -> u64 {
        let calls = self.calls.get(function);
        calls.map_or(0, |calls| calls.load(Ordering::Relaxed))
    }

    /// All calls that ever came by way of a trap.
    pub fn redirections(&self) -> u64 {
        self.redirections.load(Ordering::Relaxed)
    }

    fn find(&self, address: u64) -> Result<usize, usize> {
        self.sites.binary_search_by_key(&address, |site| site.address)
    }

    /// Keeps the number of traps that are gone below that of functions in the journal.
    fn forget_old(&mut self) {
        let gone = |site: &Site| site.target.is_none();
        if self.sites.iter().filter(|site| gone(site)).count() > self.calls.len() {
            self.sites.retain(|site| !gone(site));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lookup, Redirects};
    use crate::subject::Target;

    fn to(entry: u64, function: usize) -> Option<Target> {
        Some(Target { entry, function, is_new: false })
    }

    #[test]
    fn a_trap_leads_to_its_target_and_is_counted() {
        let mut redirects = Redirects::new(4, 2);
        redirects.set(0x20, to(0x200, 1));
        redirects.set(0x10, to(0x100, 0));
        assert_eq!(redirects.look_up(0x10), Lookup::Redirect { entry: 0x100 });
        assert_eq!(redirects.look_up(0x20), Lookup::Redirect { entry: 0x200 });
        assert_eq!(redirects.look_up(0x20), Lookup::Redirect { entry: 0x200 });
        assert_eq!(redirects.look_up(0x21), Lookup::NotOurs);
        assert_eq!((redirects.calls(0), redirects.calls(1)), (1, 2));
        assert_eq!(redirects.redirections(), 3);
    }

    #[test]
    fn each_processor_may_be_late_once() {
        let mut redirects = Redirects::new(4, 2);
        redirects.set(0x10, to(0x100, 0));
        redirects.set(0x10, None);
        redirects.set(0x10, None);
        assert_eq!(redirects.look_up(0x10), Lookup::Again);
        assert_eq!(redirects.look_up(0x10), Lookup::Again);
        assert_eq!(redirects.look_up(0x10), Lookup::NotOurs);
        redirects.set(0x10, to(0x300, 1));
        assert_eq!(redirects.look_up(0x10), Lookup::Redirect { entry: 0x300 });
    }

    #[test]
    fn traps_that_are_gone_do_not_pile_up() {
        let mut redirects = Redirects::new(4, 2);
        for site in 0..1000 {
            redirects.set(site, to(1, 0));
            redirects.set(site, None);
            assert!(redirects.sites.len() <= 5);
        }
    }
}
