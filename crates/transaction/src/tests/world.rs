//! A machine and a store that can fail and crash at any step.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::engine::Engine;
use crate::journal::{Store, StoreError};
use crate::machine::{Difference, Machine, MachineError, Place, PlaceError, Target};
use crate::patch::{FunctionPlan, Patch, Plan, SiteState};

pub(super) const TRAP: u8 = 0x06;
pub(super) const BASE: u64 = 0xffff_ffff_8100_0000;
pub(super) const FUNCTION_LENGTH: usize = 32;
pub(super) const FUNCTIONS: usize = 6;
pub(super) const STORE_SIZE: usize = 16 * 1024;

/// What goes wrong, and at which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    /// One step fails, the next ones work.
    Fail(usize),
    /// This step and all later ones fail.
    FailFrom(usize),
    /// The task ends in this step; of what it writes then, so many bytes are written.
    Crash(usize, usize),
}

pub(super) struct World {
    pub(super) memory: Vec<u8>,
    pub(super) store: Vec<u8>,
    pub(super) stopped: bool,
    pub(super) intercept: bool,
    pub(super) redirects: BTreeMap<u64, Target>,
    /// Where the other processors stand.
    pub(super) processors: Vec<u64>,
    pub(super) trouble: Trouble,
    pub(super) steps: usize,
    pub(super) crashed: bool,
}

#[derive(Clone)]
pub(super) struct Shared(pub(super) Rc<RefCell<World>>);

impl World {
    fn new() -> Self {
        // Bytes that are never the trap.
        let memory = (0..FUNCTIONS * FUNCTION_LENGTH).map(|index| 0x40 + (index % 89) as u8);
        Self {
            memory: memory.collect(),
            store: vec![0; STORE_SIZE],
            stopped: false,
            intercept: false,
            redirects: BTreeMap::new(),
            processors: vec![0x1000, 0x2000],
            trouble: Trouble::Nothing,
            steps: 0,
            crashed: false,
        }
    }

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

    fn range(&self, address: u64, length: usize) -> Result<std::ops::Range<usize>, MachineError> {
        let start = address.wrapping_sub(BASE) as usize;
        let end = start.saturating_add(length);
        if end > self.memory.len() {
            return Err(MachineError::NotMapped { address });
        }
        Ok(start..end)
    }

    /// What must hold whenever the guest runs.
    fn check_running(&self) {
        let trap = self.memory.contains(&TRAP);
        assert!(!trap || self.intercept, "a trap nobody looks at");
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        Self(Rc::new(RefCell::new(World::new())))
    }

    pub(super) fn open(&self) -> Engine<Shared> {
        Engine::open(self.clone(), TRAP).unwrap()
    }

    pub(super) fn memory(&self) -> Vec<u8> {
        self.0.borrow().memory.clone()
    }

    pub(super) fn set_trouble(&self, trouble: Trouble) {
        let mut world = self.0.borrow_mut();
        world.trouble = trouble;
        world.steps = 0;
    }

    pub(super) fn crashed(&self) -> bool {
        self.0.borrow().crashed
    }

    /// The kernel restarts the task: the stop ends, the traps are still intercepted, and nothing
    /// but memory and store is left.
    pub(super) fn restart(&self) -> Engine<Shared> {
        {
            let mut world = self.0.borrow_mut();
            world.check_running();
            world.stopped = false;
            world.crashed = false;
            world.trouble = Trouble::Nothing;
            world.redirects.clear();
        }
        self.open()
    }

    /// The plan for a function as a check would make it: `found` is what is there now.
    pub(super) fn function(&self, index: usize, entry: u64) -> FunctionPlan {
        let old_start = BASE + (index * FUNCTION_LENGTH) as u64;
        // Windows of all lengths, and one function without room for a jump.
        let displaced = [5, 7, 19, 11, 3, 6][index];
        let site = old_start + 5;
        let offset = index * FUNCTION_LENGTH + 5;
        let found = self.memory()[offset..offset + displaced].to_vec();
        let jump = (0..displaced).map(|place| 0xe0 + (entry % 13) as u8 + place as u8 % 2);
        FunctionPlan {
            name: "function".try_into().unwrap(),
            old_start,
            old_size: FUNCTION_LENGTH as u32,
            site,
            new_entry: entry,
            found: found.into_iter().collect(),
            jump: if displaced >= 5 { jump.collect() } else { [].into_iter().collect() },
            reason: if displaced >= 5 { 0 } else { 9 },
            below: 0,
        }
    }

    pub(super) fn plan(&self, indices: &[usize], entry: u64) -> Vec<FunctionPlan> {
        indices.iter().map(|&index| self.function(index, entry)).collect()
    }

    pub(super) fn apply(
        &self,
        engine: &mut Engine<Shared>,
        name: &str,
        indices: &[usize],
        entry: u64,
    ) -> Result<u32, lucos_guest_interface::Fault> {
        let functions = self.plan(indices, entry);
        let plan = Plan { name, dependencies: &[], functions: &functions };
        engine.apply(&mut self.clone(), &plan)
    }
}

/// Takes everything back, the last patch first.
pub(super) fn roll_all_back(shared: &Shared, engine: &mut Engine<Shared>) {
    let in_force = |patch: &&Patch| patch.is_in_memory();
    while let Some(patch) = engine.patches().iter().rev().find(in_force) {
        let number = patch.number;
        engine.rollback(&mut shared.clone(), number).unwrap();
    }
}

/// What memory must look like with these patches, on top of `original`.
pub(super) fn expected(original: &[u8], patches: &[Patch]) -> Vec<u8> {
    let mut memory = original.to_vec();
    for patch in patches.iter().filter(|patch| patch.is_in_memory()) {
        for function in &patch.functions {
            let start = (function.plan.site - BASE) as usize;
            match function.state {
                SiteState::Jump => {
                    let jump = &function.plan.jump;
                    memory[start..start + jump.len()].copy_from_slice(jump);
                }
                _ => memory[start] = TRAP,
            }
        }
    }
    memory
}

/// Memory, redirections and intercept are what the engine believes.
pub(super) fn check(shared: &Shared, engine: &Engine<Shared>, original: &[u8]) {
    let world = shared.0.borrow();
    assert!(!engine.is_unfinished());
    assert!(!world.stopped, "the guest stands still");
    assert_eq!(world.memory, expected(original, engine.patches()));
    assert_eq!(world.intercept, world.memory.contains(&TRAP));
    for index in 0..FUNCTIONS {
        let site = BASE + (index * FUNCTION_LENGTH) as u64 + 5;
        let byte = world.memory[index * FUNCTION_LENGTH + 5];
        let top = engine.at_site(site).map(|(_, function)| function.plan.new_entry);
        let redirect = world.redirects.get(&site).map(|target| target.entry);
        assert_eq!(redirect, top.filter(|_| byte == TRAP));
    }
}

impl Machine for Shared {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), MachineError> {
        let mut world = self.0.borrow_mut();
        world.step().map_err(|_| MachineError::Failed)?;
        let range = world.range(address, bytes.len())?;
        bytes.copy_from_slice(&world.memory[range]);
        Ok(())
    }

    fn compare(&mut self, places: &[Place<'_>]) -> Result<Option<Difference>, PlaceError> {
        let mut world = self.0.borrow_mut();
        let at = |place| move |error| PlaceError { place, error };
        world.step().map_err(|_| at(0)(MachineError::Failed))?;
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
        let at = |place| move |error| PlaceError { place, error };
        for (place, Place { address, bytes }) in places.iter().enumerate() {
            world.range(*address, bytes.len()).map_err(at(place))?;
        }
        for (place, Place { address, bytes }) in places.iter().enumerate() {
            let range = world.range(*address, bytes.len()).map_err(at(place))?;
            let (written, result) = match world.step() {
                Ok(()) => (bytes.len(), Ok(())),
                Err(written) => (written.min(bytes.len()), Err(MachineError::Failed)),
            };
            world.memory[range.start..range.start + written].copy_from_slice(&bytes[..written]);
            result.map_err(at(place))?;
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), MachineError> {
        let mut world = self.0.borrow_mut();
        world.step().map_err(|_| MachineError::Late)?;
        assert!(!world.stopped);
        world.stopped = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        let mut world = self.0.borrow_mut();
        if world.crashed {
            return Err(MachineError::Failed);
        }
        assert!(world.stopped);
        world.check_running();
        world.stopped = false;
        Ok(())
    }

    fn stopped_at(&mut self) -> Result<Vec<u64>, MachineError> {
        let mut world = self.0.borrow_mut();
        assert!(world.stopped || world.crashed);
        world.step().map_err(|_| MachineError::Failed)?;
        Ok(world.processors.clone())
    }

    fn intercept(&mut self, on: bool) -> Result<(), MachineError> {
        let mut world = self.0.borrow_mut();
        assert!(world.stopped || world.crashed);
        world.step().map_err(|_| MachineError::Failed)?;
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
        STORE_SIZE
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StoreError> {
        let world = self.0.borrow();
        let from = world.store.get(offset..offset + bytes.len()).ok_or(StoreError)?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), StoreError> {
        let mut world = self.0.borrow_mut();
        let (written, result) = match world.step() {
            Ok(()) => (bytes.len(), Ok(())),
            Err(written) => (written.min(bytes.len()), Err(StoreError)),
        };
        let place = world.store.get_mut(offset..offset + bytes.len()).ok_or(StoreError)?;
        place[..written].copy_from_slice(&bytes[..written]);
        result
    }
}
