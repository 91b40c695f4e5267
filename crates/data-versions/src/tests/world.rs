//! A machine for one guarded write: guest memory, the pages that are open, retained memory, and the
//! instruction.

use std::collections::BTreeMap;

use super::data::{KERNEL, Lists};
use crate::changes::Changes;
use crate::note::{self, RECORD, SLOT};
use crate::pages::{Mapping, Pages};
use crate::pairs::{Pair, Shape, SharedField, Side};
use crate::touched::{ChangedPage, Cursor, Search, Touched};
use crate::transfer::Cause;
use crate::write::{Action, Event, Exception, Verdict, Write};
use crate::{PAGE, VersionId};

/// Pages of guest memory, all guarded but the last.
pub(super) const PAGES: u64 = 7;
pub(super) const FAULT: Exception = Exception { vector: 14, error_code: Some(2), address: 0x1234 };

/// Kinds of pairs. A counter: `u32`, whose twin has a number of its own before it. A record: 24 bytes,
/// the first 8 shared, the twin in another order with 16 bytes of its own.
pub(super) const COUNTER: VersionId = VersionId { patch: 1, version: 0 };
pub(super) const RECORDS: VersionId = VersionId { patch: 1, version: 1 };
const VERSIONS: [VersionId; 2] = [COUNTER, RECORDS];
/// By how much the second version's addresses are others for the same pages.
const ALIAS: u64 = 0x100_0000_0000;

const SHARED: [SharedField; 1] = [SharedField { object_offset: 0, twin_offset: 8, size: 8 }];

fn shape(version: VersionId) -> Shape<'static> {
    match version {
        COUNTER => Shape { object: 4, twin: 8, shared: &[] },
        _ => Shape { object: 24, twin: 40, shared: &SHARED },
    }
}

fn base(version: VersionId) -> u64 {
    KERNEL + ALIAS * u64::from(version.version)
}

/// What the version's transfer functions do.
fn transfer(version: VersionId, from: Side, object: &mut [u8], twin: &mut [u8]) {
    let moves: &[(usize, usize, usize)] = match version {
        COUNTER => &[(0, 4, 4)],
        _ => &[(8, 32, 8), (16, 0, 8)],
    };
    for &(old, new, size) in moves {
        match from {
            Side::Object => twin[new..new + size].copy_from_slice(&object[old..old + size]),
            Side::Twin => object[old..old + size].copy_from_slice(&twin[new..new + size]),
        }
    }
}

/// Some bytes that an instruction stores at a guest-physical address.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub gpa: u64,
    pub bytes: Vec<u8>,
}

impl Store {
    fn pages(&self) -> impl Iterator<Item = u64> {
        let first = self.gpa / PAGE as u64;
        let last = (self.gpa + self.bytes.len() as u64 - 1) / PAGE as u64;
        (first..=last).map(|page| page * PAGE as u64)
    }
}

/// What the processor does.
#[derive(Clone, Debug)]
pub(super) struct Instruction {
    pub stores: Vec<Store>,
    /// It goes on where it was when it is executed again (a scatter), instead of anew.
    pub by_elements: bool,
    /// It raises [`FAULT`] when so many stores are done.
    pub faults_after: Option<usize>,
    /// What comes before each of its steps.
    pub before: Vec<Event>,
    /// What the next instruction does in a step.
    pub next: Event,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub memory: Vec<u8>,
    /// Copies of open pages.
    pub open: BTreeMap<u64, Vec<u8>>,
    pub tables: usize,
    pub slot: [u8; SLOT],
    pub locked: bool,
    pub lists: [Lists; 2],
    pub index: Pages<64>,
    pub instruction: Instruction,
    /// Stores that are done, of an instruction by elements.
    progress: usize,
    pub retired: bool,
    changes: Vec<(u64, Changes)>,
    search: Option<VersionId>,
    cursor: Cursor,
    scratch: Vec<u8>,
    /// Pairs whose transfer is contained.
    pub contained: Vec<Pair>,
    pub torn: Vec<Touched>,
    pub abandoned: usize,
    pub carried: Vec<Touched>,
    pub steps: usize,
    /// Before how many more actions the task ends, and how much of the last one is done.
    pub ends_in: Option<(usize, usize)>,
    /// Which actions fail, by their number.
    pub fails: Vec<usize>,
    pub actions: usize,
}

/// The task has ended.
pub(super) struct Ended;

impl World {
    pub fn new(lists: [Lists; 2], memory: Vec<u8>, instruction: Instruction) -> Self {
        let mut index = Pages::new();
        for page in 0..PAGES - 1 {
            for version in VERSIONS {
                let gpa = page * PAGE as u64;
                index.insert(Mapping { gpa, version, address: base(version) + gpa }).unwrap();
            }
        }
        let mut world = Self {
            memory,
            open: BTreeMap::new(),
            tables: 0,
            slot: [0; SLOT],
            locked: false,
            lists,
            index,
            instruction,
            progress: 0,
            retired: false,
            changes: Vec::new(),
            search: None,
            cursor: Cursor::default(),
            scratch: Vec::new(),
            contained: Vec::new(),
            torn: Vec::new(),
            abandoned: 0,
            carried: Vec::new(),
            steps: 0,
            ends_in: None,
            fails: Vec::new(),
            actions: 0,
        };
        for version in VERSIONS {
            for pair in world.lists[version.version as usize].by_object.clone() {
                world.carry_at_once(version, pair, Side::Object);
            }
        }
        world
    }

    fn range(version: VersionId, side: Side, pair: &Pair) -> std::ops::Range<usize> {
        let range = shape(version).range(side, pair);
        let base = base(version);
        (range.start - base) as usize..(range.end - base) as usize
    }

    fn carry_at_once(&mut self, version: VersionId, pair: Pair, from: Side) {
        let [object, twin] = Side::BOTH.map(|side| Self::range(version, side, &pair));
        let mut old = self.memory[object.clone()].to_vec();
        let mut new = self.memory[twin.clone()].to_vec();
        transfer(version, from, &mut old, &mut new);
        self.memory[object].copy_from_slice(&old);
        self.memory[twin].copy_from_slice(&new);
    }

    /// The instruction as a processor does it that has no guards, each pair carried at once.
    pub fn reference(mut self) -> Vec<u8> {
        let before = self.memory.clone();
        let most = self.instruction.faults_after.unwrap_or(usize::MAX);
        for store in self.instruction.stores.clone().iter().take(most) {
            self.put(store);
        }
        let after = self.memory.clone();
        for version in VERSIONS {
            for pair in self.lists[version.version as usize].by_object.clone() {
                let changed = |side: Side| {
                    let range = Self::range(version, side, &pair);
                    let start = range.start;
                    range.into_iter().any(|at| {
                        let offset = (at - start) as u64;
                        before[at] != after[at] && !shape(version).is_shared(side, offset)
                    })
                };
                let from = match (changed(Side::Object), changed(Side::Twin)) {
                    (false, false) => continue,
                    (_, true) => Side::Twin,
                    (true, false) => Side::Object,
                };
                if !self.contained.contains(&pair) {
                    self.carry_at_once(version, pair, from);
                }
            }
        }
        self.memory
    }

    /// What must hold whenever the lock is free: no pair's sides differ, but torn ones.
    pub fn check_coherent(&self) {
        assert!(self.open.is_empty() && self.slot[0] == 0 && !self.locked);
        for version in VERSIONS {
            for pair in &self.lists[version.version as usize].by_object {
                for from in Side::BOTH {
                    let mut copy = self.clone();
                    copy.carry_at_once(version, *pair, from);
                    let torn = self.torn.iter().any(|torn| torn.pair == *pair);
                    assert!(torn || copy.memory == self.memory, "{version:?} {pair:x?} {from:?}");
                }
            }
        }
    }

    fn put(&mut self, store: &Store) {
        let start = store.gpa as usize;
        self.memory[start..start + store.bytes.len()].copy_from_slice(&store.bytes);
    }

    /// The processor's part of a step.
    fn step(&mut self) -> Event {
        self.steps += 1;
        if self.retired {
            return self.instruction.next;
        }
        if let Some(event) = self.instruction.before.pop() {
            return event;
        }
        let stores = self.instruction.stores.clone();
        let most = self.instruction.faults_after.unwrap_or(usize::MAX);
        if !self.instruction.by_elements {
            let pages = stores.iter().take(most).flat_map(Store::pages);
            let wanted = pages.into_iter().find(|page| !self.open.contains_key(page));
            if let Some(gpa) = wanted {
                return Event::Wants { gpa: gpa + 8 };
            }
        }
        for (number, store) in stores.iter().enumerate().skip(self.progress) {
            if number == most {
                return Event::Exception(FAULT);
            }
            if let Some(gpa) = store.pages().find(|page| !self.open.contains_key(page)) {
                return Event::Wants { gpa: gpa + 8 };
            }
            self.put(store);
            if self.instruction.by_elements {
                self.progress = number + 1;
            }
        }
        if most <= stores.len() {
            return Event::Exception(FAULT);
        }
        self.retired = true;
        Event::Stepped { debug: None }
    }

    /// Runs a write to its end.
    pub fn run(&mut self, mut write: Write) -> Result<Verdict, Ended> {
        loop {
            let action = write.action();
            if let Action::End(verdict) = action {
                return Ok(verdict);
            }
            self.actions += 1;
            assert!(self.actions < 5_000, "no end");
            if let Some((left, done)) = self.ends_in {
                if left == 0 {
                    self.ends_in = None;
                    self.act_in_part(action, &write, done);
                    return Err(Ended);
                }
                self.ends_in = Some((left - 1, done));
            }
            // A lock is always given back.
            let fails = self.fails.contains(&self.actions) && action != Action::Unlock;
            let event = match fails {
                true => {
                    // Some of it may be done.
                    if let Action::Publish(touched) = action {
                        self.publish(touched, 3);
                    }
                    Event::Failed
                }
                false => self.act(action, &write),
            };
            write.advance(event);
        }
    }

    /// The first bytes, pages or things of an action; all of it when there is only one.
    fn act_in_part(&mut self, action: Action, write: &Write, done: usize) {
        match action {
            Action::Note => self.retain(note::change(self.slot[0], Some(write.note())), done),
            Action::ClearNote => self.retain(note::change(self.slot[0], None), done),
            Action::Publish(touched) => self.publish(touched, done),
            Action::Close => {
                for page in write.note().pages.iter().take(done) {
                    self.open.remove(page);
                }
            }
            action if done > 0 => {
                self.act(action, write);
            }
            _ => {}
        }
    }

    fn retain(&mut self, change: note::Change, mut done: usize) {
        if let Some((offset, record)) = change.record {
            let length = done.min(RECORD);
            self.slot[offset..offset + length].copy_from_slice(&record[..length]);
            done -= length;
        }
        if done > 0 {
            self.slot[0] = change.state;
        }
    }

    fn publish(&mut self, touched: Touched, done: usize) {
        let target = Self::range(touched.version, touched.from.other(), &touched.pair);
        let length = done.min(target.len());
        let place = &mut self.memory[target.start..target.start + length];
        place.copy_from_slice(&self.scratch[..length]);
    }

    fn act(&mut self, action: Action, write: &Write) -> Event {
        match action {
            Action::Lock => {
                assert!(!self.locked);
                self.locked = true;
                let [gpa, ..] = write.note().pages[..] else { panic!("a write to no page") };
                return Event::Locked { guarded: self.index.is_guarded(gpa) };
            }
            Action::Note => {
                assert!(self.locked);
                self.retain(note::change(self.slot[0], Some(write.note())), usize::MAX);
            }
            Action::Open { gpa } => {
                let noted = note::read(&self.slot).unwrap().unwrap();
                assert!(noted.pages.contains(&gpa), "a page is open that nobody knows of");
                let start = gpa as usize;
                let copy = || self.memory[start..start + PAGE].to_vec();
                self.open.entry(gpa).or_insert_with(copy);
            }
            Action::OpenTable { .. } => self.tables += 1,
            Action::Step => {
                assert!(self.locked);
                return self.step();
            }
            Action::Compare => {
                self.changes.clear();
                for gpa in &write.note().pages {
                    let Some(copy) = self.open.get(gpa) else { continue };
                    let page = self.memory[*gpa as usize..].first_chunk().unwrap();
                    let copy: &[u8; PAGE] = copy.first_chunk().unwrap();
                    self.changes.push((*gpa, Changes::between(page, copy)));
                }
                self.search = None;
                self.cursor = Cursor::default();
                self.next_version(write);
            }
            Action::Find => return self.find(write),
            Action::Carry(Touched { version, pair, from }) => {
                assert!(self.locked);
                if self.contained.contains(&pair) {
                    return Event::Contained(Cause::Loops);
                }
                let [mut old, mut new] =
                    Side::BOTH.map(|side| self.memory[Self::range(version, side, &pair)].to_vec());
                transfer(version, from, &mut old, &mut new);
                self.scratch = if from == Side::Object { new } else { old };
            }
            Action::Publish(touched) => {
                let noted = note::read(&self.slot).unwrap().unwrap().carrying.unwrap();
                assert_eq!((noted.pair, noted.from), (touched.pair, touched.from));
                self.publish(touched, usize::MAX);
                self.carried.push(touched);
            }
            Action::Torn(touched, _) => self.torn.push(touched),
            Action::Abandon => self.abandoned += 1,
            Action::Close => {
                for page in &write.note().pages {
                    self.open.remove(page);
                }
            }
            Action::ClearNote => {
                assert!(self.open.is_empty(), "a page is open that nobody knows of");
                self.retain(note::change(self.slot[0], None), usize::MAX);
            }
            Action::Unlock => {
                assert!(self.locked && self.slot[0] == 0);
                self.locked = false;
            }
            Action::End(_) => panic!("it had ended"),
        }
        Event::Done
    }

    fn next_version(&mut self, write: &Write) {
        self.search = self.index.next_version(&write.note().pages, self.search);
        self.cursor = Cursor::default();
    }

    fn find(&mut self, write: &Write) -> Event {
        while let Some(version) = self.search {
            let pages: Vec<_> = self
                .changes
                .iter()
                .map(|(gpa, changes)| ChangedPage { gpa: *gpa, changes })
                .collect();
            let search = Search::new(version, shape(version), &self.index, &pages);
            let list = &mut self.lists[version.version as usize];
            if let Some(touched) = search.next(list, &mut self.cursor).unwrap() {
                return Event::Found(touched);
            }
            self.next_version(write);
        }
        Event::NoMore
    }

    /// The task begins anew, and does what its processor asks for again.
    pub fn restart(&mut self, gpa: u64) -> Result<Verdict, Ended> {
        self.locked = false;
        self.changes.clear();
        self.search = None;
        self.scratch.clear();
        match note::read(&self.slot).unwrap() {
            Some(note) => self.run(Write::finish(note)),
            None => self.run(Write::begin(gpa)),
        }
    }
}
