//! Turning traps into jumps.

use alloc::vec::Vec;

use lucos_guest_interface::call::NO_ITEM;
use lucos_guest_interface::{ErrorCode, Fault, Part};

use super::{Engine, general, item, stopped};
use crate::journal::Store;
use crate::patch::{Code, Function, Patch, SiteState};
use crate::subject::{Difference, Place, PlaceError, Subject, SubjectError};

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
    /// * `Deadline`, `Busy`, `Address`, `Internal`: the subject's
    pub fn jump<M: Subject>(
        &mut self,
        subject: &mut M,
        number: u32,
        which: Which,
    ) -> Result<u32, Fault> {
        self.recover(subject)?;
        self.repeated = false;
        let position = self.applied_position(number)?;
        let wanted = self.wanted(position, which)?;
        if wanted.is_empty() {
            return Ok(self.jumping(position));
        }
        let work = |subject: &mut M| self.convert(subject, position, &wanted);
        let ((converted, obstacle), ticks) = stopped(subject, work)?;
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

    /// Converts those functions that nothing stands in the way of. In a stop. Returns how many, and
    /// the first obstacle.
    fn convert<M: Subject>(
        &mut self,
        subject: &mut M,
        position: usize,
        wanted: &[usize],
    ) -> Result<(usize, Option<Fault>), Fault> {
        let mut windows = self.windows(position, wanted);
        let mut obstacle = leave_occupied_out(subject, &mut windows).map_err(general)?;
        let changed = leave_changed_out(subject, &mut windows);
        obstacle = obstacle.or(changed);
        if windows.is_empty() {
            return Ok((0, obstacle));
        }
        let done = self.write_jumps(subject, &windows);
        let state = match done {
            Ok(()) => SiteState::Jump,
            Err(_) => self.put_traps_back(subject, &windows),
        };
        if let Some(patch) = self.patches.get_mut(position) {
            for window in &windows {
                if let Some(function) = patch.functions.get_mut(window.index) {
                    function.state = state;
                }
            }
        }
        for window in &windows {
            self.publish(subject, window.site, false);
        }
        self.intercept_if_needed(subject);
        match done {
            Ok(()) => Ok((windows.len(), obstacle)),
            Err(fault) => Ok((0, obstacle.or(Some(fault)))),
        }
    }

    fn windows(&self, position: usize, wanted: &[usize]) -> Vec<Window> {
        let functions = self.patches.get(position).map_or(&[][..], |patch| &patch.functions);
        let window = |&index: &usize| {
            let Function { slot, plan, .. } = functions.get(index)?;
            let (jump, trapped) = (plan.jump.clone(), plan.trapped(self.trap));
            Some(Window { index, slot: *slot, site: plan.site, jump, trapped })
        };
        wanted.iter().filter_map(window).collect()
    }

    fn write_jumps<M: Subject>(
        &mut self,
        subject: &mut M,
        windows: &[Window],
    ) -> Result<(), Fault> {
        for window in windows {
            self.journal.set_function(window.slot, SiteState::Jumping)?;
        }
        let at = |place: usize| windows.get(place).map_or(NO_ITEM, |window| item(window.index));
        subject
            .write(&places(windows, |window| &window.jump))
            .map_err(|PlaceError { place, error }| error.fault(at(place)))?;
        for window in windows {
            self.journal.set_function(window.slot, SiteState::Jump)?;
        }
        Ok(())
    }

    /// Undoes jumps of which some may be written, in the stop in which they were. Returns what the
    /// journal says then.
    fn put_traps_back<M: Subject>(&mut self, subject: &mut M, windows: &[Window]) -> SiteState {
        let restored = subject.write(&places(windows, |window| &window.trapped)).is_ok()
            && windows
                .iter()
                .all(|window| self.journal.set_function(window.slot, SiteState::Trap).is_ok());
        self.unfinished |= !restored;
        if restored { SiteState::Trap } else { SiteState::Jumping }
    }
}

/// A window that is to get its jump.
struct Window {
    /// The function's number in its patch.
    index: usize,
    /// The function's place in the journal.
    slot: usize,
    site: u64,
    jump: Code,
    /// What stands there before: the trap, and what was found behind it.
    trapped: Code,
}

fn places(windows: &[Window], bytes: impl Fn(&Window) -> &Code) -> Vec<Place<'_>> {
    windows.iter().map(|window| Place { address: window.site, bytes: bytes(window) }).collect()
}

/// Leaves out the windows in which a processor stands; the first of them as an obstacle.
fn leave_occupied_out<M: Subject>(
    subject: &mut M,
    windows: &mut Vec<Window>,
) -> Result<Option<Fault>, SubjectError> {
    let mut obstacle = None;
    let pointers = subject.stopped_at()?;
    windows.retain(|window| {
        let length = window.jump.len() as u64;
        let is_inside = |rip: &&u64| (1..length).contains(&rip.wrapping_sub(window.site));
        let Some(&rip) = pointers.iter().find(is_inside) else {
            return true;
        };
        obstacle.get_or_insert(Fault::at(ErrorCode::WindowOccupied, item(window.index), rip));
        false
    });
    Ok(obstacle)
}

/// Leaves out the windows whose bytes are not the trap and what was found; the first of them as an
/// obstacle.
fn leave_changed_out<M: Subject>(subject: &mut M, windows: &mut Vec<Window>) -> Option<Fault> {
    let mut obstacle = None;
    while !windows.is_empty() {
        let (place, problem) = match subject.compare(&places(windows, |window| &window.trapped)) {
            Ok(None) => break,
            Ok(Some(Difference { place, offset })) => (place, Ok(offset)),
            Err(PlaceError { place, error }) => (place, Err(error)),
        };
        if place >= windows.len() {
            windows.clear();
            return obstacle.or(Some(Part::Liveupdate.fault(NO_ITEM)));
        }
        let window = windows.remove(place);
        let index = item(window.index);
        obstacle.get_or_insert(match problem {
            Ok(offset) => {
                let address = window.site.saturating_add(offset as u64);
                Fault::at(ErrorCode::SiteChanged, index, address)
            }
            Err(error) => error.fault(index),
        });
    }
    obstacle
}
