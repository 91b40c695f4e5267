//! Turning traps into jumps.

use alloc::vec::Vec;

use lucos_guest_interface::{ErrorCode, Fault};

use super::{Engine, item, stopped};
use crate::journal::Store;
use crate::machine::Machine;
use crate::patch::{FunctionPlan, Patch, SiteState};

/// Which functions of a patch get their jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every function that can.
    All,
    /// The one with this index.
    One(u32),
}

impl<S: Store> Engine<S> {
    /// Turns the traps of a patch into jumps. The caller made sure that no thread that does not run
    /// is inside a window; running ones are looked at here. Returns how many functions of the patch
    /// have a jump now.
    ///
    /// # Errors
    /// With [`Which::One`] whatever is in the way of that function; with [`Which::All`] the first
    /// obstacle, and only when no function got its jump. The guest's memory is then as it was.
    /// * `UnknownPatch`, `NotApplied`, `UnknownFunction`
    /// * `NoJump`: the function keeps its trap (detail: the reason)
    /// * `Stacked`: a later patch stands there (detail: its number)
    /// * `WindowOccupied`: a processor stands in the window (detail: where)
    /// * `SiteChanged`: the bytes are not those that LUCOS wrote and found
    /// * `Deadline`, `Busy`, `Address`, `Internal`: the machine's
    pub fn jump<M: Machine>(
        &mut self,
        machine: &mut M,
        number: u32,
        which: Which,
    ) -> Result<u32, Fault> {
        self.recover(machine)?;
        self.repeated = false;
        let position = self.applied_position(number)?;
        let wanted = self.wanted(position, which)?;
        if wanted.is_empty() {
            return Ok(self.jumping(position));
        }
        let work = |machine: &mut M| self.convert(machine, position, &wanted);
        let ((converted, obstacle), ticks) = stopped(machine, work)?;
        if let Some(patch) = self.patches.get_mut(position) {
            patch.times.jump = patch.times.jump.max(ticks);
            // Only a figure.
            let _ = self.journal.write_times(patch.slot, &patch.times);
        }
        match obstacle {
            Some(fault) if converted == 0 => Err(fault),
            _ => Ok(self.jumping(position)),
        }
    }

    /// Number of functions of a patch that have a jump.
    fn jumping(&self, position: usize) -> u32 {
        let jumps = |patch: &Patch| {
            let functions = patch.functions.iter();
            functions.filter(|function| function.state == SiteState::Jump).count()
        };
        self.patches.get(position).map_or(0, |patch| item(jumps(patch)))
    }

    /// The indices of the functions that are to be converted.
    fn wanted(&self, position: usize, which: Which) -> Result<Vec<usize>, Fault> {
        let count = self.patches.get(position).map_or(0, |patch| patch.functions.len());
        match which {
            Which::All => {
                Ok((0..count).filter(|&index| self.obstacle(position, index) == Ok(true)).collect())
            }
            Which::One(index) => {
                let unknown = Fault::at(ErrorCode::UnknownFunction, index, 0);
                let index = usize::try_from(index).map_err(|_| unknown)?;
                if index >= count {
                    return Err(unknown);
                }
                Ok(match self.obstacle(position, index)? {
                    true => [index].to_vec(),
                    false => Vec::new(),
                })
            }
        }
    }

    /// Whether a function has a trap that can become a jump, as far as LUCOS itself knows; `false`
    /// when it has its jump.
    fn obstacle(&self, position: usize, index: usize) -> Result<bool, Fault> {
        let unknown = Fault::at(ErrorCode::UnknownFunction, item(index), 0);
        let patch = self.patches.get(position).ok_or(unknown)?;
        let function = patch.functions.get(index).ok_or(unknown)?;
        if let Some(top) = self.covered_by(patch.number, function.plan.site) {
            return Err(Fault::at(ErrorCode::Stacked, item(index), top.into()));
        }
        if function.state == SiteState::Jump {
            return Ok(false);
        }
        if function.plan.jump.is_empty() {
            let reason = function.plan.reason.into();
            return Err(Fault::at(ErrorCode::NoJump, item(index), reason));
        }
        Ok(true)
    }

    /// Converts functions one by one. In a stop. Returns how many, and the first obstacle.
    fn convert<M: Machine>(
        &mut self,
        machine: &mut M,
        position: usize,
        wanted: &[usize],
    ) -> Result<(usize, Option<Fault>), Fault> {
        let mut converted = 0;
        let mut obstacle = None;
        for &index in wanted {
            match self.convert_one(machine, position, index) {
                Ok(()) => converted += 1,
                Err(fault) => obstacle = obstacle.or(Some(fault)),
            }
            if self.unfinished {
                break;
            }
        }
        self.intercept_if_needed(machine);
        Ok((converted, obstacle))
    }

    fn convert_one<M: Machine>(
        &mut self,
        machine: &mut M,
        position: usize,
        index: usize,
    ) -> Result<(), Fault> {
        let number = item(index);
        let function = self.patches.get(position).and_then(|patch| patch.functions.get(index));
        let function = function.ok_or(Fault::at(ErrorCode::UnknownFunction, number, 0))?.clone();
        let plan = &function.plan;
        check_window(machine, number, plan, self.trap)?;

        self.journal.set_function(function.slot, SiteState::Jumping)?;
        let written = machine.write(plan.site, &plan.jump).map_err(|error| error.fault(number));
        let done = written.and_then(|()| self.journal.set_function(function.slot, SiteState::Jump));
        let state = match done {
            Ok(()) => SiteState::Jump,
            Err(_) => {
                let restored = machine.write(plan.site, &plan.trapped(self.trap)).is_ok()
                    && self.journal.set_function(function.slot, SiteState::Trap).is_ok();
                self.unfinished |= !restored;
                if restored { SiteState::Trap } else { SiteState::Jumping }
            }
        };
        let patch = self.patches.get_mut(position);
        if let Some(function) = patch.and_then(|patch| patch.functions.get_mut(index)) {
            function.state = state;
        }
        self.publish(machine, plan.site, false);
        done
    }
}

/// Checks that nobody stands in the window and that its bytes are the trap and what was found.
fn check_window<M: Machine>(
    machine: &mut M,
    index: u32,
    plan: &FunctionPlan,
    trap: u8,
) -> Result<(), Fault> {
    let failed = |error: crate::machine::MachineError| error.fault(index);
    let length = plan.jump.len() as u64;
    let mut inside = |rip: u64| (1..length).contains(&rip.wrapping_sub(plan.site));
    if let Some(rip) = machine.stopped_at(&mut inside).map_err(failed)? {
        return Err(Fault::at(ErrorCode::WindowOccupied, index, rip));
    }
    let expected = plan.trapped(trap);
    let mut now = expected.clone();
    machine.read(plan.site, &mut now).map_err(failed)?;
    let differs = now.iter().zip(&expected).position(|(now, then)| now != then);
    match differs {
        Some(offset) => {
            let address = plan.site.saturating_add(offset as u64);
            Err(Fault::at(ErrorCode::SiteChanged, index, address))
        }
        None => Ok(()),
    }
}
