//! Functions on the guest of tests, and what must be true of it.

use crate::engine::{Engine, Rollback};
use crate::patch::value::{Bytes, ValuePlan, ValueState};
use crate::patch::{FunctionPlan, Patch, Plan, SiteState};

pub(super) use crate::fake::{BASE, Shared, TRAP, Trouble};

pub(super) const FUNCTION_LENGTH: usize = 32;
pub(super) const FUNCTIONS: usize = 6;
/// Behind the functions lie objects of the guest.
pub(super) const OBJECTS: usize = FUNCTIONS * FUNCTION_LENGTH;
pub(super) const OBJECTS_LENGTH: usize = 64;
pub(super) const STORE_SIZE: usize = 32 * 1024;

impl Shared {
    pub(super) fn sample() -> Self {
        // Bytes that are never the trap.
        let memory = (0..OBJECTS + OBJECTS_LENGTH).map(|index| 0x40 + (index % 89) as u8);
        Self::new(memory.collect(), vec![0; STORE_SIZE])
    }

    pub(super) fn open(&self) -> Engine<Shared> {
        Engine::open(self.clone(), TRAP).unwrap()
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
        let plan = Plan { name, dependencies: &[], functions: &functions, ..Plan::default() };
        engine.apply(&mut self.clone(), &[plan])
    }

    /// The plan for a value: all bits of `length` bytes of the objects from `offset` on, which are
    /// to be `fill`.
    pub(super) fn value(&self, offset: usize, length: usize, fill: u8) -> ValuePlan {
        let now = &self.memory()[OBJECTS + offset..][..length];
        ValuePlan {
            name: "value".try_into().unwrap(),
            address: BASE + (OBJECTS + offset) as u64,
            old: now.iter().copied().collect(),
            new: core::iter::repeat_n(fill, length).collect(),
            mask: core::iter::repeat_n(0xff, length).collect(),
            if_default: false,
            below: 0,
        }
    }

    /// The same for some bits of one byte, which are all set or all cleared.
    pub(super) fn bits(&self, offset: usize, mask: u8, set: bool) -> ValuePlan {
        let now = self.memory()[OBJECTS + offset];
        let one = |byte: u8| -> Bytes { [byte].into_iter().collect() };
        ValuePlan {
            old: one(now & mask),
            new: one(if set { mask } else { 0 }),
            mask: one(mask),
            ..self.value(offset, 1, 0)
        }
    }
}

/// Takes everything back, the last patch first.
pub(super) fn roll_all_back(shared: &Shared, engine: &mut Engine<Shared>) {
    let in_force = |patch: &&Patch| patch.is_in_memory();
    while let Some(patch) = engine.patches().iter().rev().find(in_force) {
        let number = patch.number;
        engine.rollback(&mut shared.clone(), &[Rollback::of(number)]).unwrap();
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
        for value in patch.values.iter().filter(|value| value.state == ValueState::Written) {
            let start = (value.plan.address - BASE) as usize;
            let place = &mut memory[start..start + value.plan.mask.len()];
            let written = value.plan.over(place, &value.plan.new);
            place.copy_from_slice(&written);
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
