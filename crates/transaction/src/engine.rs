//! The engine: what is applied, and the steps that change it.

mod apply;
mod data;
mod jump;
mod prepare;
mod recover;
mod registry;
mod rollback;
mod values;

use alloc::vec::Vec;

use lucos_guest_interface::{ErrorCode, Fault};

use crate::journal::{Head, Journal, JournalError, Presence, Store};
use crate::patch::{Function, Patch, PatchState, SiteState};
use crate::subject::{Place, PlaceError, Subject, Target};

pub use jump::Which;
pub use rollback::{Rollback, Way};
pub use values::left_over;

/// Whether updates can be applied, and which are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Engine<S> {
    journal: Journal<S>,
    head: Head,
    /// Sorted by number: what stands on another comes later.
    patches: Vec<Patch>,
    trap: u8,
    /// Whether invalid opcodes come to LUCOS; `None` when that is not known (after a restart).
    intercepting: Option<bool>,
    /// Something was left half done.
    unfinished: bool,
    /// This task or `vmx` was restarted, and nothing was asked since: the guest repeats the call
    /// that was being served, which may have been done already.
    repeated: bool,
}

impl<S: Store> Engine<S> {
    /// The engine with the journal in `store`. `trap` is the byte that raises an invalid opcode.
    ///
    /// After a restart of the task [`Engine::recover`] is the first thing to call.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn open(store: S, trap: u8) -> Result<Self, JournalError> {
        let (journal, head, patches) = Journal::open(store)?;
        // An empty journal is that of a first start, when nothing was ever intercepted.
        let fresh = head == Head::default() && patches.is_empty();
        Ok(Self {
            journal,
            head,
            patches,
            trap,
            intercepting: fresh.then_some(false),
            unfinished: !fresh,
            repeated: !fresh,
        })
    }

    /// The next apply or rollback may be one that was done before and whose answer was lost: it is
    /// then answered as done.
    pub const fn expect_repetition(&mut self) {
        self.repeated = true;
    }

    /// Ends the engine; everything that matters is in the store.
    pub fn into_store(self) -> S {
        self.journal.into_store()
    }

    /// The patches that the guest may see, oldest first, rolled back ones included.
    pub fn patches(&self) -> &[Patch] {
        match self.head.presence {
            Presence::GoingDown => &[],
            _ => &self.patches,
        }
    }

    /// The patches of a kernel that goes down as well.
    pub fn all_patches(&self) -> &[Patch] {
        &self.patches
    }

    /// Who registered.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Number of patches that can be remembered.
    pub const fn capacity(&self) -> usize {
        self.journal.capacity()
    }

    /// Number of functions that can be remembered: the range of [`Target::function`].
    pub const fn function_capacity(&self) -> usize {
        self.journal.function_capacity()
    }

    /// Whether something is left to [`Engine::recover`].
    pub const fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// The patch whose redirection replaces that of patch `number` at `site`, if there is one.
    pub fn covered_by(&self, number: u32, site: u64) -> Option<u32> {
        let stands_on =
            |function: &Function| function.plan.site == site && function.plan.below == number;
        self.patches
            .iter()
            .filter(|patch| patch.is_in_memory())
            .find(|patch| patch.functions.iter().any(stands_on))
            .map(|patch| patch.number)
    }

    /// The function whose redirection stands at exactly `site`, with the number of its patch.
    pub fn at_site(&self, site: u64) -> Option<(u32, &Function)> {
        // Later patches stand on earlier ones.
        self.patches.iter().rev().filter(|patch| patch.is_in_memory()).find_map(|patch| {
            let mut functions = patch.functions.iter();
            let function = functions.find(|function| function.plan.site == site)?;
            Some((patch.number, function))
        })
    }

    fn position(&self, number: u32) -> Result<usize, Fault> {
        let unknown = Fault::new(ErrorCode::UnknownPatch, number.into());
        if self.head.presence == Presence::GoingDown {
            return Err(unknown);
        }
        self.patches.iter().position(|patch| patch.number == number).ok_or(unknown)
    }

    /// The position of a patch that is in force.
    fn applied_position(&self, number: u32) -> Result<usize, Fault> {
        let position = self.position(number)?;
        match self.patches.get(position) {
            Some(patch) if patch.state == PatchState::Applied => Ok(position),
            _ => Err(Fault::new(ErrorCode::NotApplied, number.into())),
        }
    }

    /// Whether a trap of ours may be in the guest's memory.
    fn has_traps(&self) -> bool {
        self.patches.iter().any(|patch| {
            patch.is_in_memory()
                && patch.functions.iter().any(|function| {
                    let trapping = match patch.state {
                        PatchState::Applied => function.state != SiteState::Jump,
                        _ => true,
                    };
                    trapping && self.covered_by(patch.number, function.plan.site).is_none()
                })
        })
    }

    /// Turns the intercept on or off, unless it is so already. Only in a stop.
    fn intercept(&mut self, subject: &mut impl Subject, on: bool) -> Result<(), Fault> {
        if self.intercepting == Some(on) {
            return Ok(());
        }
        // Whatever happens, it is not known in between.
        self.intercepting = None;
        subject.intercept(on).map_err(general)?;
        self.intercepting = Some(on);
        Ok(())
    }

    /// Turns the intercept off when no trap is left. An intercept that stays on only costs time,
    /// and the next transaction tries again.
    fn intercept_if_needed(&mut self, subject: &mut impl Subject) {
        if !self.has_traps() {
            let _ = self.intercept(subject, false);
        }
    }

    /// Tells the subject where a trap at `site` leads now, and whether it is a new one.
    fn publish(&self, subject: &mut impl Subject, site: u64, is_new: bool) {
        let target = self.target(site);
        subject.redirect(site, target.map(|target| Target { is_new, ..target }));
    }

    /// Every trap that may be in the guest's memory, by its site.
    pub fn targets(&self) -> impl Iterator<Item = (u64, Target)> + '_ {
        let in_memory = self.patches.iter().filter(|patch| patch.is_in_memory());
        in_memory.flat_map(move |patch| {
            let top =
                |function: &&Function| self.covered_by(patch.number, function.plan.site).is_none();
            let functions = patch.functions.iter().filter(top);
            functions.filter_map(|function| {
                let site = function.plan.site;
                Some((site, self.target(site)?))
            })
        })
    }

    /// Where a trap at `site` leads; `None` when none of ours can be there.
    pub fn target(&self, site: u64) -> Option<Target> {
        let (number, function) = self.at_site(site)?;
        if function.state == SiteState::Jump {
            return None;
        }
        let Function { slot, plan, .. } = self.in_force_below(number, function);
        Some(Target { entry: plan.new_entry, function: *slot, is_new: false })
    }

    /// What a patch that is being applied stands on: nobody enters its function before it is in force,
    /// whoever's trap it is that stands there. One that stands on nothing has nowhere else to lead.
    fn in_force_below<'a>(&'a self, number: u32, function: &'a Function) -> &'a Function {
        let mut patches = self.patches.iter();
        let is_applying =
            |patch: &Patch| patch.number == number && patch.state == PatchState::Applying;
        if !patches.any(is_applying) {
            return function;
        }
        let Function { plan, .. } = function;
        let mut earlier = self.patches.iter().take_while(|patch| patch.number < number);
        let below = earlier.find(|patch| patch.number == plan.below).and_then(|patch| {
            let mut functions = patch.functions.iter();
            Some((patch.number, functions.find(|other| other.plan.site == plan.site)?))
        });
        below.map_or(function, |(number, function)| self.in_force_below(number, function))
    }

    fn next_sequence(&mut self) -> u64 {
        self.head.last_sequence += 1;
        self.head.last_sequence
    }
}

/// An error at a place, when the places are those of the entries.
fn at_item(PlaceError { place, error }: PlaceError) -> Fault {
    error.fault(item(place))
}

/// An error of the subject that no single entry is to blame for.
fn general(error: crate::subject::SubjectError) -> Fault {
    error.fault(lucos_guest_interface::call::NO_ITEM)
}

/// Writes code at one place.
fn write_one(subject: &mut impl Subject, address: u64, bytes: &[u8]) -> Result<(), Fault> {
    subject.write(&[Place { address, bytes }]).map_err(|error| general(error.error))
}

/// The number of an entry; there are at most 64.
fn item(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(lucos_guest_interface::call::NO_ITEM)
}

/// The number of a value among the entries.
fn value_item(index: usize) -> u32 {
    lucos_guest_interface::call::VALUE_ITEMS.saturating_add(item(index))
}

/// The same for a data version.
fn data_item(index: usize) -> u32 {
    lucos_guest_interface::call::DATA_ITEMS.saturating_add(item(index))
}

/// Runs `work` while the guest is stopped. What it did counts even when the guest cannot be
/// resumed, which is reported.
fn stopped<M: Subject, T>(
    subject: &mut M,
    work: impl FnOnce(&mut M) -> Result<T, Fault>,
) -> Result<(T, u64), Fault> {
    let start = subject.now();
    subject.stop().map_err(general)?;
    let result = work(subject);
    let resumed = subject.resume().map_err(general);
    let ticks = subject.now().saturating_sub(start);
    let result = result?;
    resumed?;
    Ok((result, ticks))
}
