//! The data of the fake guest: pairs as its lists say, and transfer functions that turn every bit.

use std::ops::Range;

use lucos_data_versions::state::Code;
use lucos_data_versions::{Pair, Side, VersionId};
use lucos_guest_interface::{Fault, Part};

use super::{Shared, World};
use crate::subject::{DataSubject, SubjectError};
use crate::version::{Half, VersionPlan};

/// What the fake's transfer functions do to each byte that both sides have.
pub const TURN: u8 = 0x5a;

const FAILED: SubjectError = SubjectError::Failed(Part::Memory);

impl World {
    /// The pairs of a version.
    ///
    /// # Panics
    /// When the list is not in memory.
    pub fn pairs(&self, version: &VersionPlan) -> Vec<Pair> {
        let length = version.lists.pairs as usize * Pair::SIZE;
        let list = self.range(version.lists.by_object, length).expect("a list outside memory");
        let (pairs, _) = self.memory[list].as_chunks();
        pairs.iter().copied().map(Pair::from_bytes).collect()
    }

    /// Where one side of a pair is in memory.
    ///
    /// # Panics
    /// When it is not.
    pub fn side(&self, version: &VersionPlan, pair: &Pair, side: Side) -> Range<usize> {
        self.range(pair.address(side), size(version, side)).expect("a pair outside memory")
    }

    /// What a transfer function makes of the other side of a pair.
    pub fn transferred(&self, version: &VersionPlan, pair: &Pair, from: Side) -> Vec<u8> {
        let source = &self.memory[self.side(version, pair, from)];
        let mut target = self.memory[self.side(version, pair, from.other())].to_vec();
        for (new, old) in target.iter_mut().zip(source) {
            *new = old ^ TURN;
        }
        target
    }

    /// One half of a place of the stage.
    fn place(
        &self,
        version: &VersionPlan,
        number: usize,
        length: usize,
        half: Half,
    ) -> Result<Range<usize>, SubjectError> {
        let step = version.lists.stage_step as usize;
        assert!(2 * length <= step, "a place of the stage is too small");
        let offset = number * step + if half == Half::After { length } else { 0 };
        self.range(version.lists.stage + offset as u64, length)
    }

    /// Writes bytes; of those of the step in which the task ends only the first.
    fn put(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), SubjectError> {
        let (written, result) = match self.step() {
            Ok(()) => (bytes.len(), Ok(())),
            Err(written) => (written.min(bytes.len()), Err(FAILED)),
        };
        self.memory[range.start..range.start + written].copy_from_slice(&bytes[..written]);
        result
    }

    fn in_a_stop(&self) {
        assert!(self.stopped || self.crashed, "data is moved while the guest runs");
    }
}

fn size(version: &VersionPlan, side: Side) -> usize {
    version.shape().size(side) as usize
}

/// Every pair is a step, and every half of its place.
impl DataSubject for Shared {
    fn is_clear(&mut self, _: u32, _: Code) -> Result<bool, Fault> {
        let mut world = self.0.borrow_mut();
        world.in_a_stop();
        world.step().map_err(|_| Part::Memory.fault(lucos_guest_interface::call::NO_ITEM))?;
        Ok(world.clear)
    }

    fn stage(&mut self, _: VersionId, version: &VersionPlan, from: Side) -> Result<(), Fault> {
        let mut world = self.0.borrow_mut();
        world.in_a_stop();
        let to = from.other();
        for (number, pair) in world.pairs(version).iter().enumerate() {
            let made = world.transferred(version, pair, from);
            let was = world.memory[world.side(version, pair, to)].to_vec();
            for (half, bytes) in [(Half::Before, was), (Half::After, made)] {
                let place = world.place(version, number, bytes.len(), half);
                let put = place.and_then(|place| world.put(place, &bytes));
                put.map_err(|error| error.fault(lucos_guest_interface::call::NO_ITEM))?;
            }
            if let Some(fault) = world.contained.filter(|_| number > 0) {
                return Err(fault);
            }
        }
        Ok(())
    }

    fn wipe_stage(&mut self, version: &VersionPlan) -> Result<(), SubjectError> {
        let mut world = self.0.borrow_mut();
        world.in_a_stop();
        let length = (version.lists.pairs * version.lists.stage_step) as usize;
        let stage = world.range(version.lists.stage, length)?;
        world.put(stage, &vec![0; length])
    }

    fn copy_pairs(
        &mut self,
        version: &VersionPlan,
        to: Side,
        half: Half,
    ) -> Result<(), SubjectError> {
        let mut world = self.0.borrow_mut();
        world.in_a_stop();
        for (number, pair) in world.pairs(version).iter().enumerate() {
            let place = world.place(version, number, size(version, to), half)?;
            let bytes = world.memory[place].to_vec();
            let target = world.side(version, pair, to);
            world.put(target, &bytes)?;
        }
        Ok(())
    }

    fn guard(&mut self, id: VersionId, _: &VersionPlan, on: bool) -> Result<(), SubjectError> {
        let mut world = self.0.borrow_mut();
        world.in_a_stop();
        world.step().map_err(|_| FAILED)?;
        match on {
            true => world.guards.insert(id),
            false => world.guards.remove(&id),
        };
        Ok(())
    }
}
