//! A guest and a store that can fail and crash at any step, for the tests of the engine and of
//! those that feed it.

mod data;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use lucos_data_versions::VersionId;
use lucos_guest_interface::{Fault, Part};

use crate::journal::{Store, StoreError};
use crate::patch::{CODE_MAX, FUNCTIONS_MAX};
use crate::subject::{Difference, Place, PlaceError, Subject, SubjectError, Target};

pub use data::TURN;

/// The trap.
pub const TRAP: u8 = 0x06;
/// Where memory starts.
pub const BASE: u64 = 0xffff_ffff_8100_0000;

/// What goes wrong, and at which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    Nothing,
    /// One step fails, the next ones work.
    Fail(usize),
    /// This step and all later ones fail.
    FailFrom(usize),
    /// The task ends in this step; of what it writes then, so many bytes are written.
    Crash(usize, usize),
}

/// Memory of the guest from [`BASE`] on, retained memory, and what the engine has done to the rest of
/// the guest.
#[derive(Debug)]
pub struct World {
    /// Memory.
    pub memory: Vec<u8>,
    /// Retained memory.
    pub store: Vec<u8>,
    /// The guest stands still.
    pub stopped: bool,
    /// Invalid opcodes come to LUCOS.
    pub intercept: bool,
    /// Where traps lead.
    pub redirects: BTreeMap<u64, Target>,
    /// Where the other processors stand.
    pub processors: Vec<u64>,
    /// Versions whose pages are guarded.
    pub guards: BTreeSet<VersionId>,
    /// Nobody is inside the code that is left.
    pub clear: bool,
    /// What the second transfer function of a version is ended for.
    pub contained: Option<Fault>,
    /// Memory has no traps but the engine's, so none may stand there that nobody looks at.
    pub traps_are_ours: bool,
    /// What goes wrong.
    pub trouble: Trouble,
    /// Steps since that was said.
    pub steps: usize,
    /// The task has ended.
    pub crashed: bool,
}

/// The guest and the store are both the same world.
#[derive(Clone, Debug)]
pub struct Shared(pub Rc<RefCell<World>>);

impl World {
    /// Counts a step with effects. `Err` holds how many bytes of a write still happen.
    fn step(&mut self) -> Result<(), usize> {
        if self.crashed {
            return Err(0);
        }
        let step = self.steps;
        self.steps += 1;
        match self.trouble {
            Trouble::Fail(at) if at == step => Err(0),
            Trouble::FailFrom(at) if at <= step => Err(0),
            Trouble::Crash(at, written) if at == step => {
                self.crashed = true;
                Err(written)
            }
            _ => Ok(()),
        }
    }

    fn range(&self, address: u64, length: usize) -> Result<std::ops::Range<usize>, SubjectError> {
        let start = usize::try_from(address.wrapping_sub(BASE)).unwrap_or(usize::MAX);
        let end = start.saturating_add(length);
        if end > self.memory.len() {
            return Err(SubjectError::NotMapped { address });
        }
        Ok(start..end)
    }

    /// What must hold whenever the guest runs.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_running(&self) {
        let trap = self.traps_are_ours && self.memory.contains(&TRAP);
        assert!(!trap || self.intercept, "a trap nobody looks at");
    }
}

impl Shared {
    /// A guest with this memory and this retained memory.
    pub fn new(memory: Vec<u8>, store: Vec<u8>) -> Self {
        Self(Rc::new(RefCell::new(World {
            traps_are_ours: !memory.contains(&TRAP),
            memory,
            store,
            stopped: false,
            intercept: false,
            redirects: BTreeMap::new(),
            processors: vec![0x1000, 0x2000],
            guards: BTreeSet::new(),
            clear: true,
            contained: None,
            trouble: Trouble::Nothing,
            steps: 0,
            crashed: false,
        })))
    }

    /// A copy of the memory.
    pub fn memory(&self) -> Vec<u8> {
        self.0.borrow().memory.clone()
    }

    /// Lets something go wrong from now on.
    pub fn set_trouble(&self, trouble: Trouble) {
        let mut world = self.0.borrow_mut();
        world.trouble = trouble;
        world.steps = 0;
    }

    /// Whether the task has ended.
    pub fn crashed(&self) -> bool {
        self.0.borrow().crashed
    }
}

impl Subject for Shared {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), SubjectError> {
        let mut world = self.0.borrow_mut();
        world.step().map_err(|_| SubjectError::Failed(Part::Memory))?;
        let range = world.range(address, bytes.len())?;
        bytes.copy_from_slice(&world.memory[range]);
        Ok(())
    }

    fn compare(&mut self, places: &[Place<'_>]) -> Result<Option<Difference>, PlaceError> {
        let mut world = self.0.borrow_mut();
        let at = |place| move |error| PlaceError { place, error };
        world.step().map_err(|_| at(0)(SubjectError::Failed(Part::Memory)))?;
        for (place, Place { address, bytes }) in places.iter().enumerate() {
            let range = world.range(*address, bytes.len()).map_err(at(place))?;
            let mut pairs = world.memory[range].iter().zip(*bytes);
            if let Some(offset) = pairs.position(|(now, then)| now != then) {
                return Ok(Some(Difference { place, offset }));
            }
        }
        Ok(None)
    }

    /// Each place is a step.
    fn write(&mut self, places: &[Place<'_>]) -> Result<(), PlaceError> {
        let mut world = self.0.borrow_mut();
        assert!(world.stopped || world.crashed, "code written while the guest runs");
        assert!(places.len() <= FUNCTIONS_MAX, "more places than functions");
        let at = |place| move |error| PlaceError { place, error };
        for (place, Place { address, bytes }) in places.iter().enumerate() {
            assert!(bytes.len() <= CODE_MAX, "more is written than a redirection");
            world.range(*address, bytes.len()).map_err(at(place))?;
        }
        for (place, Place { address, bytes }) in places.iter().enumerate() {
            let range = world.range(*address, bytes.len()).map_err(at(place))?;
            let (written, result) = match world.step() {
                Ok(()) => (bytes.len(), Ok(())),
                Err(written) => (written.min(bytes.len()), Err(SubjectError::Failed(Part::Memory))),
            };
            world.memory[range.start..range.start + written].copy_from_slice(&bytes[..written]);
            result.map_err(at(place))?;
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), SubjectError> {
        let mut world = self.0.borrow_mut();
        world.step().map_err(|_| SubjectError::Late)?;
        assert!(!world.stopped);
        world.stopped = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), SubjectError> {
        let mut world = self.0.borrow_mut();
        if world.crashed {
            return Err(SubjectError::Failed(Part::Memory));
        }
        assert!(world.stopped);
        world.check_running();
        world.stopped = false;
        Ok(())
    }

    fn stopped_at(&mut self) -> Result<Vec<u64>, SubjectError> {
        let mut world = self.0.borrow_mut();
        assert!(world.stopped || world.crashed);
        world.step().map_err(|_| SubjectError::Failed(Part::Memory))?;
        Ok(world.processors.clone())
    }

    fn intercept(&mut self, on: bool) -> Result<(), SubjectError> {
        let mut world = self.0.borrow_mut();
        assert!(world.stopped || world.crashed);
        world.step().map_err(|_| SubjectError::Failed(Part::Memory))?;
        world.intercept = on;
        Ok(())
    }

    fn redirect(&mut self, site: u64, to: Option<Target>) {
        let mut world = self.0.borrow_mut();
        match to {
            Some(target) => world.redirects.insert(site, target),
            None => world.redirects.remove(&site),
        };
    }

    fn now(&mut self) -> u64 {
        let mut world = self.0.borrow_mut();
        world.processors[0] += 0x10_0000_0000;
        world.processors[0]
    }
}

impl Store for Shared {
    fn len(&self) -> usize {
        self.0.borrow().store.len()
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StoreError> {
        let world = self.0.borrow();
        let end = offset.checked_add(bytes.len()).ok_or(StoreError)?;
        let from = world.store.get(offset..end).ok_or(StoreError)?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), StoreError> {
        let mut world = self.0.borrow_mut();
        let (written, result) = match world.step() {
            Ok(()) => (bytes.len(), Ok(())),
            Err(written) => (written.min(bytes.len()), Err(StoreError)),
        };
        let end = offset.checked_add(bytes.len()).ok_or(StoreError)?;
        let place = world.store.get_mut(offset..end).ok_or(StoreError)?;
        place[..written].copy_from_slice(&bytes[..written]);
        result
    }
}
