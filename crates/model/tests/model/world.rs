//! The guest's memory, and what LUCOS has done to it.

use std::collections::BTreeSet;

use lucos_data_versions::state::Code;
use lucos_data_versions::{Side, VersionId};
use lucos_guest_interface::call::NO_ITEM;
use lucos_guest_interface::{Fault, Part};
use lucos_transaction::patch::value::{Bytes, ValuePlan};
use lucos_transaction::patch::{FunctionPlan, Name};
use lucos_transaction::subject::{Difference, Place, PlaceError, Target};
use lucos_transaction::version::{Kind, Lists};
use lucos_transaction::{DataSubject, Half, Subject, SubjectError, VersionPlan};

use crate::fuse;

/// The invalid byte.
pub const TRAP: u8 = 0x06;
/// What is in its place otherwise.
const ORIGINAL: u8 = 0x55;
/// Functions that use the datum; each patch replaces both.
pub const FUNCTIONS: usize = 2;
/// A changes the datum, B what A made of it.
pub const PATCHES: usize = 2;
pub const NAMES: [&str; PATCHES] = ["a", "b"];
/// Bits that a transfer function turns: so a side is never what the other is.
const TURNS: [u8; PATCHES] = [0x40, 0x20];
/// Where the code is that a patch brings.
const ENTRIES: u64 = 0xffff_ffff_c000_0000;
const SITES: u64 = 0xffff_ffff_8100_0000;
/// A's value: a pointer to a function in a table of the kernel.
const VALUE: u64 = 0xffff_ffff_8200_0000;
const OLD_VALUE: u8 = 1;
const NEW_VALUE: u8 = 2;
const LISTS: u64 = 0xffff_8880_0000_0000;

/// What is wrong with a state; the name of the property that it breaks.
pub type Broken = &'static str;
pub const C1: Broken = "C1: every write to a pair is under the lock";
pub const S1: Broken = "S1: code changes only while both sides live";
pub const S4: Broken = "S4: a twin is freed only when old code alone is in force";
pub const S6: Broken = "S6: what fails leaves all as it was";
pub const DEAD: Broken = "no object is written that the guest has freed";
pub const MENDED: Broken = "what a task's end left is mended";
pub const STRAY: Broken = "every trap leads somewhere, and no write is refused";

/// An object, the twin that A has made of it, and the twin that B has made of that.
pub type Data = [u8; PATCHES + 1];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// First byte of each function.
    pub code: [u8; FUNCTIONS],
    /// A pointer to a function, that A changes.
    pub value: u8,
    pub data: Data,
    /// For each patch what the target was, and what it becomes.
    pub stage: [[u8; 2]; PATCHES],
    /// Patches whose pages are guarded.
    pub guards: BTreeSet<u32>,
    /// Guards that are to be set when the guest runs again; only in a wrong machine.
    pub late_guards: BTreeSet<u32>,
    pub guards_are_late: bool,
    /// The guest stands still.
    pub stopped: bool,
    /// A second object of A, that the guest frees.
    pub second_lives: bool,
    /// What the witness says of the code that is left.
    pub clear: bool,
    /// The sides of this patch are not the same any more.
    pub torn: [bool; PATCHES],
    pub broken: Option<Broken>,
}

impl World {
    pub fn new() -> Self {
        Self {
            code: [ORIGINAL; FUNCTIONS],
            value: OLD_VALUE,
            data: [0; PATCHES + 1],
            stage: [[0; 2]; PATCHES],
            guards: BTreeSet::new(),
            late_guards: BTreeSet::new(),
            guards_are_late: false,
            stopped: false,
            second_lives: true,
            clear: false,
            torn: [false; PATCHES],
            broken: None,
        }
    }

    pub fn break_promise(&mut self, promise: Broken) {
        self.broken.get_or_insert(promise);
    }

    /// What a patch's transfer function makes of one side.
    pub const fn transferred(&self, patch: usize, from: Side) -> u8 {
        self.data[place(patch, from)] ^ TURNS[patch]
    }

    pub const fn is_coherent(&self, patch: usize) -> bool {
        self.transferred(patch, Side::Object) == self.data[patch + 1]
    }

    /// What the datum counts, as one side has it.
    pub fn counted(&self, side: usize) -> u8 {
        TURNS.iter().take(side).fold(self.data[side], |value, turn| value ^ turn)
    }

    /// The byte of code, or the value, at an address.
    const fn byte(&mut self, address: u64) -> &mut u8 {
        match address {
            VALUE => &mut self.value,
            _ => &mut self.code[((address - SITES) / 0x1000) as usize],
        }
    }

    /// Whether A's pointer leads to its new function.
    pub const fn has_new_value(&self) -> bool {
        self.value == NEW_VALUE
    }

    /// The plan for a function of a patch, as a check would make it.
    pub fn function_plan(&self, patch: usize, function: usize) -> FunctionPlan {
        let site = SITES + 0x1000 * function as u64;
        FunctionPlan {
            name: Name::try_from("f").unwrap(),
            old_start: site,
            old_size: 32,
            site,
            new_entry: ENTRIES + 0x1000 * patch as u64 + function as u64,
            found: [self.code[function]].into_iter().collect(),
            jump: [].into_iter().collect(),
            reason: 9,
            below: 0,
        }
    }

    pub const fn site(function: usize) -> u64 {
        SITES + 0x1000 * function as u64
    }

    /// The patch to which an entry belongs.
    pub const fn patch_of(entry: u64) -> usize {
        ((entry - ENTRIES) / 0x1000) as usize
    }
}

/// The place of a side of a patch's pair among the data.
pub const fn place(patch: usize, side: Side) -> usize {
    match side {
        Side::Object => patch,
        Side::Twin => patch + 1,
    }
}

/// The values of a patch.
pub fn value_plans(patch: usize) -> Vec<ValuePlan> {
    let byte = |byte| Bytes::from_slice(&[byte]).unwrap();
    let plan = ValuePlan {
        name: Name::try_from("p").unwrap(),
        address: VALUE,
        old: byte(OLD_VALUE),
        new: byte(NEW_VALUE),
        mask: byte(0xff),
        if_default: false,
        below: 0,
    };
    if patch == 0 { vec![plan] } else { Vec::new() }
}

/// A patch's version. Its lists say which patch it is, and how many pairs it has.
pub fn version_plan(patch: usize, pairs: u32) -> VersionPlan {
    let lists = Lists { by_object: LISTS + patch as u64, pairs, ..Lists::default() };
    let kind = Kind {
        name: Name::try_from("v").unwrap(),
        object_size: 1,
        twin_size: 1,
        to_new: ENTRIES,
        to_old: ENTRIES,
        flags: 0,
        shared: heapless::Vec::new(),
    };
    VersionPlan { kind, lists }
}

fn patch(version: &VersionPlan) -> usize {
    (version.lists.by_object - LISTS) as usize
}

/// The machine during one transaction.
pub struct Machine<'a> {
    pub world: &'a mut World,
    /// The patch whose code and data change.
    pub changes: usize,
    /// Whether sides that differ are put up with.
    pub withdraws: bool,
}

const FAILED: SubjectError = SubjectError::Failed(Part::Memory);

fn step() -> Result<(), SubjectError> {
    fuse::step().map_err(|()| FAILED)
}

fn fault_step() -> Result<(), Fault> {
    step().map_err(|error| error.fault(NO_ITEM))
}

impl DataSubject for Machine<'_> {
    fn is_clear(&mut self, _: u32, _: Code) -> Result<bool, Fault> {
        fault_step()?;
        Ok(self.world.clear)
    }

    fn stage(&mut self, _: VersionId, version: &VersionPlan, from: Side) -> Result<(), Fault> {
        fault_step()?;
        let patch = patch(version);
        let was = self.world.data[place(patch, from.other())];
        self.world.stage[patch] = [was, self.world.transferred(patch, from)];
        Ok(())
    }

    fn wipe_stage(&mut self, version: &VersionPlan) -> Result<(), SubjectError> {
        step()?;
        self.world.stage[patch(version)] = [0; 2];
        Ok(())
    }

    fn copy_pairs(
        &mut self,
        version: &VersionPlan,
        to: Side,
        half: Half,
    ) -> Result<(), SubjectError> {
        step()?;
        let patch = patch(version);
        let [before, after] = self.world.stage[patch];
        self.world.data[place(patch, to)] = if half == Half::Before { before } else { after };
        let is_second = version.lists.pairs > 1 && patch == 0;
        if is_second && to == Side::Object && !self.world.second_lives {
            self.world.break_promise(DEAD);
        }
        Ok(())
    }

    fn guard(&mut self, _: VersionId, version: &VersionPlan, on: bool) -> Result<(), SubjectError> {
        step()?;
        let patch = patch(version) as u32;
        let guards = match self.world.guards_are_late {
            true => &mut self.world.late_guards,
            false => &mut self.world.guards,
        };
        match on {
            true => guards.insert(patch),
            false => guards.remove(&patch) | self.world.guards.remove(&patch),
        };
        Ok(())
    }
}

impl Subject for Machine<'_> {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), SubjectError> {
        step()?;
        bytes.fill(*self.world.byte(address));
        Ok(())
    }

    fn compare(&mut self, places: &[Place<'_>]) -> Result<Option<Difference>, PlaceError> {
        step().map_err(|error| PlaceError { place: 0, error })?;
        let differs = |place: &Place<'_>| [*self.world.byte(place.address)] != *place.bytes;
        Ok(places.iter().position(differs).map(|place| Difference { place, offset: 0 }))
    }

    fn write(&mut self, places: &[Place<'_>]) -> Result<(), PlaceError> {
        for (place, Place { address, bytes }) in places.iter().enumerate() {
            step().map_err(|error| PlaceError { place, error })?;
            let patch = self.changes;
            let alike = self.world.is_coherent(patch) || self.withdraws || self.world.torn[patch];
            let byte = self.world.byte(*address);
            let changes = std::mem::replace(byte, bytes[0]) != bytes[0];
            if changes && !(self.world.stopped && alike) {
                self.world.break_promise(S1);
            }
        }
        Ok(())
    }

    /// Who has stopped the guest already finds it stopped.
    fn stop(&mut self) -> Result<(), SubjectError> {
        step()?;
        self.world.stopped = true;
        Ok(())
    }

    /// Only the end of the task keeps a stop.
    fn resume(&mut self) -> Result<(), SubjectError> {
        if step().is_err() && fuse::burnt().1 {
            return Err(FAILED);
        }
        self.world.stopped = false;
        Ok(())
    }

    fn stopped_at(&mut self) -> Result<Vec<u64>, SubjectError> {
        Ok(Vec::new())
    }

    fn intercept(&mut self, _: bool) -> Result<(), SubjectError> {
        step()
    }

    /// Where traps lead is asked of the engine.
    fn redirect(&mut self, _: u64, _: Option<Target>) {}

    fn now(&mut self) -> u64 {
        0
    }
}
