//! Writes to guarded pages, step by step.

use lucos_data_versions::note::{self, RECORD};
use lucos_data_versions::touched::{ChangedPage, Cursor, Search};
use lucos_data_versions::write::{Event, Verdict};
use lucos_data_versions::{
    Action, Cause, Changes, List, Mapping, Pages, Pair, Shape, Side, VersionId, Write,
};

use crate::config::{Config, Seed};
use crate::state::{State, Writing};
use crate::threads::Thread;
use crate::world::{C1, PATCHES, S4, STRAY, place};

/// Where the guest has its memory.
const KERNEL: u64 = 0xffff_8880_0000_0000;
const PAGE: u64 = 0x1000;

/// How a step of a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// As it should.
    Well,
    /// It fails, or is interrupted.
    Fails,
    /// The transfer function is ended.
    Contained,
}

/// The guest-physical address of a side.
pub fn gpa(config: &Config, side: usize) -> u64 {
    let page = if config.one_page { 1 } else { side as u64 + 1 };
    page * PAGE + 64 * side as u64
}

/// The list of a patch's only pair.
struct One(Pair);

impl List for One {
    type Error = ();

    fn len(&self) -> u32 {
        1
    }

    fn read(&mut self, _: Side, _: u32) -> Result<Pair, ()> {
        Ok(self.0)
    }
}

const SHAPE: Shape<'static> = Shape { object: 1, twin: 1, shared: &[] };

impl State {
    /// The guarded pages.
    fn index(&self, config: &Config) -> Pages<16> {
        let mut pages = Pages::new();
        for &patch in &self.world.guards {
            for side in Side::BOTH {
                let gpa = gpa(config, place(patch as usize, side)) / PAGE * PAGE;
                let version = VersionId { patch, version: 0 };
                pages.insert(Mapping { gpa, version, address: KERNEL + gpa }).expect("few pages");
            }
        }
        pages
    }

    pub fn is_guarded(&self, config: &Config, side: usize) -> bool {
        self.index(config).is_guarded(gpa(config, side))
    }

    /// A thread counts in the side of its code: what it does to memory.
    pub fn count(&mut self, thread: usize) {
        let (code, counted) = match self.threads[thread] {
            Thread::Inside(code) => (code, self.world.counted(code)),
            Thread::Read(code, counted) => (code, counted),
            _ => return,
        };
        // What is counted and what a side has differ by the bits that were turned.
        let turned = self.world.counted(code) ^ self.world.data[code];
        self.world.data[code] = (counted + 1) ^ turned;
        self.threads[thread] = Thread::Counted(code);
        self.counted += 1;
        if code > 0 && self.manager.freed[code - 1] {
            self.world.break_promise(S4);
        }
    }

    /// Whether both sides of a pair live of which this is one.
    pub fn is_shared(&self, side: usize) -> bool {
        use lucos_data_versions::VersionState::Both;
        let of = |patch: usize| {
            patch < PATCHES && self.version(patch) == Both && !self.world.torn[patch]
        };
        of(side) || side > 0 && of(side - 1)
    }

    /// The next step of a processor that writes; `None` when it has to wait.
    pub fn write_step(mut self, config: &Config, processor: usize, way: Way) -> Option<Self> {
        let mut writing = self.writes[processor].take()?;
        let action = writing.write.action();
        let event = match way {
            Way::Well => self.act(config, processor, &mut writing, action)?,
            Way::Contained => match action {
                Action::Carry(_) => Event::Contained(Cause::Loops),
                _ => return None,
            },
            Way::Fails => match action {
                Action::Step => Event::Interrupted,
                Action::Lock | Action::Unlock | Action::End(_) => return None,
                _ => Event::Failed,
            },
        };
        if let Action::End(verdict) = action {
            if let Verdict::Fault(_) = verdict {
                self.world.break_promise(STRAY);
            }
            return Some(self);
        }
        writing.write.advance(event);
        self.writes[processor] = Some(writing);
        Some(self)
    }

    fn act(
        &mut self,
        config: &Config,
        processor: usize,
        writing: &mut Writing,
        action: Action,
    ) -> Option<Event> {
        match action {
            Action::Lock => {
                if !config.is(Seed::NoLock) && !self.lock_is_free(config, Some(processor)) {
                    return None;
                }
                self.holder = Some(processor);
                let page = *writing.write.note().pages.first()?;
                return Some(Event::Locked { guarded: self.index(config).is_guarded(page) });
            }
            Action::Note => self.retain(processor, Some(&writing.write)),
            Action::ClearNote => self.retain(processor, None),
            Action::Step => return Some(self.step(config, processor, writing)),
            Action::Compare => writing.found = self.touched(config, &writing.write),
            Action::Find => {
                return Some(match writing.found.is_empty() {
                    true => Event::NoMore,
                    false => Event::Found(writing.found.remove(0)),
                });
            }
            Action::Carry(touched) => {
                let patch = touched.version.patch as usize;
                let from = touched.from;
                writing.scratch = match from {
                    Side::Object => self.world.transferred(patch, Side::Object),
                    // A transfer function turns the same bits both ways.
                    Side::Twin => {
                        let turn =
                            self.world.transferred(patch, Side::Object) ^ self.world.data[patch];
                        self.world.data[patch + 1] ^ turn
                    }
                };
                if config.is(Seed::EarlyClear) {
                    self.retain(processor, None);
                }
            }
            Action::Torn(touched, _) => {
                let patch = touched.version.patch as usize;
                self.world.torn[patch] = true;
                self.manager.torn[patch] = true;
                self.manager.is_lossy = true;
            }
            Action::Abandon => {
                for patch in 0..PATCHES {
                    self.world.torn[patch] = true;
                    self.manager.torn[patch] = true;
                }
                self.manager.is_lossy = true;
            }
            Action::Unlock => self.holder = None,
            Action::End(_) => {}
            Action::Open { .. } | Action::OpenTable { .. } | Action::Publish(_) | Action::Close => {
                self.serve(config, writing, action)
            }
        }
        Some(Event::Done)
    }

    /// What another task does of a write, also when the one that asked for it has ended.
    fn serve(&mut self, config: &Config, writing: &Writing, action: Action) {
        match action {
            Action::Open { gpa } => {
                self.open.entry(gpa).or_insert(self.world.data);
            }
            Action::Publish(touched) => {
                let side = place(touched.version.patch as usize, touched.from.other());
                self.world.data[side] = writing.scratch;
            }
            Action::Close => {
                for page in &writing.write.note().pages {
                    self.open.remove(page);
                }
            }
            Action::Step => {
                let side = self.threads[writing.thread].code().unwrap_or(0);
                if self.open.contains_key(&(gpa(config, side) / PAGE * PAGE)) {
                    self.count(writing.thread);
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, config: &Config, processor: usize, writing: &Writing) -> Event {
        let thread = self.threads[writing.thread];
        let (Thread::Inside(side) | Thread::Read(side, _)) = thread else {
            // It is done; what comes next is none of ours.
            return Event::Left;
        };
        if !self.open.contains_key(&(gpa(config, side) / PAGE * PAGE)) {
            return Event::Wants { gpa: gpa(config, side) };
        }
        if self.holder != Some(processor) {
            self.world.break_promise(C1);
        }
        self.count(writing.thread);
        Event::Stepped { debug: None }
    }

    /// The pairs whose sides changed on the open pages of a note.
    fn touched(
        &self,
        config: &Config,
        write: &Write,
    ) -> Vec<lucos_data_versions::touched::Touched> {
        let index = self.index(config);
        let mut changed = Vec::new();
        for &page in &write.note().pages {
            let Some(copy) = self.open.get(&page) else { continue };
            let mut changes = Changes::NONE;
            for (side, (then, now)) in copy.iter().zip(&self.world.data).enumerate() {
                let address = gpa(config, side);
                if address / PAGE == page / PAGE && then != now {
                    changes.set((address % PAGE) as usize);
                }
            }
            changed.push((page, changes));
        }
        let pages: Vec<_> =
            changed.iter().map(|(gpa, changes)| ChangedPage { gpa: *gpa, changes }).collect();
        let mut found = Vec::new();
        let mut version = None;
        while let Some(next) = index.next_version(&write.note().pages, version) {
            version = Some(next);
            let address = |side| KERNEL + gpa(config, place(next.patch as usize, side));
            let pair = Pair { object: address(Side::Object), twin: address(Side::Twin) };
            let search = Search::new(next, SHAPE, &index, &pages);
            let mut cursor = Cursor::default();
            while let Ok(Some(touched)) = search.next(&mut One(pair), &mut cursor) {
                found.push(touched);
            }
        }
        found
    }

    fn retain(&mut self, processor: usize, write: Option<&Write>) {
        let slot = &mut self.notes[processor];
        let change = note::change(slot[0], write.map(Write::note));
        if let Some((offset, record)) = change.record {
            slot[offset..offset + RECORD].copy_from_slice(&record);
        }
        slot[0] = change.state;
        if change.state == 0 {
            // What a cleared slot still holds is of no matter; states that differ in it are the same.
            slot.fill(0);
        }
    }

    /// The task of a write has ended: what it asked for last is done all the same, or not; then its
    /// processor asks again.
    pub fn ask_again(mut self, config: &Config, processor: usize, late: bool) -> Option<Self> {
        let mut writing = self.writes[processor].take().filter(|writing| writing.has_ended)?;
        if late {
            self.serve(config, &writing, writing.write.action());
        }
        let side = self.threads[writing.thread].code().unwrap_or(0);
        writing.write = match note::read(&self.notes[processor]) {
            Ok(Some(note)) => Write::finish(note),
            _ => Write::begin(gpa(config, side)),
        };
        writing.has_ended = false;
        writing.found.clear();
        writing.scratch = 0;
        self.writes[processor] = Some(writing);
        Some(self)
    }
}
