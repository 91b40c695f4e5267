//! The guest's data in two versions: the part of a transaction's subject that moves and guards it.

use alloc::vec::Vec;

use lucos_data_versions::state::Code;
use lucos_data_versions::transfer::Upcall as Kind;
use lucos_data_versions::{Cause, Mapping, Side, VersionId};
use lucos_guest_interface::call::{DRAINED_NEW, DRAINED_OLD, NO_ITEM, Upcall};
use lucos_guest_interface::upcall::{STOPPED_PROCESSORS, StoppedProcessor, StoppedProcessors};
use lucos_guest_interface::{Fault, Part};
use lucos_service::client::Failure;
use lucos_service::{GuardKind, MemoryRequest, PairCopy};
use lucos_transaction::{DataSubject, Half, SubjectError, VersionPlan};

use crate::coherence::{Counts, Live, State, page_of};
use crate::guest::{Guest, subject_error};
use crate::lists::Sealed;
use crate::platform::Platform;
use crate::upcall::{self, Pages, UpcallError};
use crate::update::UPDATES;

/// Most threads that a witness looks at: what the manager keeps of those that ran.
const THREADS_MAX: u32 = 512;

/// All of it is called in a stop, which holds the coherence lock.
const NOT_STOPPED: SubjectError = SubjectError::Failed(Part::Liveupdate);

fn failed(failure: Failure) -> SubjectError {
    subject_error(failure, 0)
}

impl<P: Platform> Guest<'_, P> {
    /// What the guards of a version have cost since the task started, how many pages it
    /// guards, and how many pairs there are more than in its lists.
    pub fn guards_of(&mut self, id: VersionId) -> (Counts, usize, i32) {
        let mut state = self.coherence.lock(self.platform);
        let counts = state.live(id).map_or(Counts::default(), |live| live.counts);
        (counts, state.index.of(id).count(), state.late_pairs(id))
    }

    fn state(&mut self) -> Result<&mut State, SubjectError> {
        self.held.as_deref_mut().ok_or(NOT_STOPPED)
    }

    fn upcall_pages(&mut self) -> Result<Pages, UpcallError> {
        let processor = self.platform.processor();
        Pages::of(self.state()?.upcalls, processor)
    }

    /// Makes an upcall of which the manager can be asked to let it be made again.
    fn upcall(
        &mut self,
        what: (Upcall, [u64; 3]),
        kind: impl FnOnce(u8) -> Kind,
    ) -> Result<(), UpcallError> {
        let pages = self.upcall_pages()?;
        let kind = kind(self.state()?.asked_again);
        let result = upcall::call(self.platform, self.space, &pages, what, kind);
        if result == Err(UpcallError::Busy) {
            let state = self.state()?;
            state.asked_again = state.asked_again.saturating_add(1);
        }
        result
    }

    /// Asks the manager whether one of these processors, or of the threads that it knows, is inside.
    fn is_clear_of(
        &mut self,
        patch: u32,
        code: u64,
        processors: &[StoppedProcessor],
        more: bool,
    ) -> Result<bool, UpcallError> {
        let pages = self.upcall_pages()?;
        let header = StoppedProcessors {
            count: processors.len() as u32,
            more: more.into(),
            ..StoppedProcessors::default()
        };
        let mut address = pages.scratch;
        let mut put = |bytes: &[u8]| {
            let written = self.platform.write(self.space, address, bytes);
            address += bytes.len() as u64;
            written.map_err(failed)
        };
        put(&header.to_bytes())?;
        processors.iter().try_for_each(|processor| put(&processor.to_bytes()))?;
        let what = (Upcall::Witness, [patch.into(), code, pages.scratch]);
        let kind = |asked_again| Kind::Witness { threads: THREADS_MAX, asked_again };
        match self.upcall(what, kind) {
            Ok(()) => Ok(true),
            // Whatever it has to say against it; or more threads than it can look at step by step.
            Err(UpcallError::Contained {
                cause: Cause::Refused { .. } | Cause::Law { .. } | Cause::Loops,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where the other processors stand.
    fn stopped_processors(&mut self) -> Result<Vec<StoppedProcessor>, SubjectError> {
        let me = self.platform.processor();
        let apic_ids = self.platform.facts().apic_ids;
        let mut stopped = Vec::new();
        for (number, &apic_id) in (0..).zip(apic_ids).filter(|(number, _)| *number != me) {
            let Some(r) = self.platform.registers(number)? else { continue };
            stopped.push(StoppedProcessor {
                apic_id,
                cpl: r.cpl as u32,
                rip: r.rip,
                rsp: r.rsp,
                registers: [
                    r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11,
                    r.r12, r.r13, r.r14, r.r15,
                ],
            });
        }
        Ok(stopped)
    }

    /// The lists of a version: as they were made ready for this call, or as they are found now.
    fn take_lists(&mut self, version: &VersionPlan) -> Result<Sealed, SubjectError> {
        let mut prepared = self.prepared.iter().filter_map(|one| one.sealed.as_ref());
        match prepared.find(|sealed| *sealed.lists() == version.lists) {
            Some(sealed) => Ok(sealed.clone()),
            None => Sealed::find(self.platform, self.space, version.lists).map_err(failed),
        }
    }

    /// Whether this call moves the data of a version.
    fn is_prepared(&self, version: &VersionPlan) -> bool {
        let mut prepared = self.prepared.iter().filter_map(|one| one.sealed.as_ref());
        prepared.any(|sealed| *sealed.lists() == version.lists)
    }

    fn guard_on(&mut self, id: VersionId, version: &VersionPlan) -> Result<(), SubjectError> {
        let space = self.space;
        if self.state()?.live(id).is_none() {
            let is_new = self.is_prepared(version);
            let Some(held) = self.held.as_deref_mut() else { return Err(NOT_STOPPED) };
            held.locate(self.platform, space).map_err(failed)?;
            if is_new {
                held.forget_late(self.platform, id)?;
            }
            let located = self.take_lists(version)?;
            let data = located.find_data(self.platform, space);
            let data = data.map_err(|(failure, _)| failed(failure))?;
            let state = self.state()?;
            for (gpa, address) in data {
                let mapping = Mapping { gpa: page_of(gpa), version: id, address };
                if state.index.insert(mapping).is_err() {
                    state.index.remove(id);
                    return Err(SubjectError::Failed(Part::Memory));
                }
            }
            state.versions.push(Live {
                id,
                plan: version.clone(),
                located: Some(located),
                counts: Counts::default(),
            });
        }
        let Some(held) = self.held.as_deref_mut() else { return Err(NOT_STOPPED) };
        held.locate(self.platform, space).map_err(failed)?;
        let pages: Vec<u64> = held.index.of(id).collect();
        self.platform.guard(GuardKind::Carried, true, &pages).map_err(failed)
    }

    fn guard_off(&mut self, id: VersionId) -> Result<(), SubjectError> {
        let space = self.space;
        let Some(held) = self.held.as_deref_mut() else { return Err(NOT_STOPPED) };
        if held.live(id).is_none() {
            return Ok(());
        }
        // Where it is not known who else has a page it stays guarded for now, which harms nobody.
        let pages: Vec<u64> = match held.locate(self.platform, space) {
            Ok(()) => held.index.only_of(id).collect(),
            Err(_) => Vec::new(),
        };
        self.platform.guard(GuardKind::Carried, false, &pages).map_err(failed)?;
        held.index.remove(id);
        let place = held.versions.iter().position(|live| live.id == id);
        let removed = place.map(|place| held.versions.remove(place));
        held.torn.retain(|torn| torn.id != id);
        held.left.retain(|(left, _)| *left != id);
        // Its lists are the guest's again, unless others lie on the same pages, or this call needs them.
        let lists = removed.and_then(|live| live.located);
        let is_used = |page: &u64| {
            let mut prepared = self.prepared.iter().filter_map(|one| one.sealed.as_ref());
            held.sealed_pages().any(|other| other == *page)
                || prepared.any(|sealed| sealed.own_pages().any(|other| other == *page))
        };
        let pages: Vec<u64> =
            lists.iter().flat_map(Sealed::own_pages).filter(|page| !is_used(page)).collect();
        self.platform.guard(GuardKind::Sealed, false, &pages).map_err(failed)
    }
}

/// The number by which upcalls and hypercalls say whose code.
const fn number(code: Code) -> u64 {
    match code {
        Code::Old => DRAINED_OLD,
        Code::New => DRAINED_NEW,
    }
}

impl<P: Platform> DataSubject for Guest<'_, P> {
    fn is_clear(&mut self, patch: u32, code: Code) -> Result<bool, Fault> {
        let fault = |error: SubjectError| error.fault(NO_ITEM);
        let stopped = self.stopped_processors().map_err(fault)?;
        let mut rest = stopped.as_slice();
        loop {
            let (part, behind) = rest.split_at(rest.len().min(STOPPED_PROCESSORS));
            let more = !behind.is_empty();
            let clear = self.is_clear_of(patch, number(code), part, more);
            if !clear.map_err(|error| error.fault(NO_ITEM))? {
                return Ok(false);
            }
            if !more {
                return Ok(true);
            }
            rest = behind;
        }
    }

    fn stage(&mut self, id: VersionId, version: &VersionPlan, from: Side) -> Result<(), Fault> {
        if version.lists.pairs == 0 {
            return Ok(());
        }
        let which = u64::from(id.patch) << 32 | u64::from(id.version);
        let what = (Upcall::TransferAll, [which, from as u64, version.lists.stage]);
        let (pairs, bytes) = (version.lists.pairs, version.pair_size());
        let kind = |asked_again| Kind::All { pairs, bytes, asked_again };
        self.upcall(what, kind).map_err(|error| {
            if let UpcallError::Contained { cause, rip } = error {
                self.ended_at = Some(rip);
                let name = &version.kind.name;
                self.report(
                    &UPDATES,
                    format_args!("the transfer of {name} is ended at {rip:#x}: {cause:x?}"),
                );
            }
            error.fault(NO_ITEM)
        })
    }

    fn wipe_stage(&mut self, version: &VersionPlan) -> Result<(), SubjectError> {
        let lists = &version.lists;
        let length = u64::from(lists.pairs) * u64::from(lists.stage_step);
        let zero = MemoryRequest::Zero { space: self.space, address: lists.stage, length };
        self.platform.order(&zero).map_err(failed)
    }

    fn copy_pairs(
        &mut self,
        version: &VersionPlan,
        to: Side,
        half: Half,
    ) -> Result<(), SubjectError> {
        let lists = &version.lists;
        let copy = PairCopy {
            pairs: lists.by_object,
            count: lists.pairs,
            stage: lists.stage,
            step: lists.stage_step,
            offset: match half {
                Half::Before => 0,
                Half::After => lists.stage_step / 2,
            },
            // At most a page.
            size: version.shape().size(to) as u32,
            to_twins: to == Side::Twin,
        };
        let request = MemoryRequest::CopyPairs { space: self.space, copy };
        self.platform.order(&request).map_err(failed)
    }

    fn guard(
        &mut self,
        id: VersionId,
        version: &VersionPlan,
        on: bool,
    ) -> Result<(), SubjectError> {
        match on {
            true => self.guard_on(id, version),
            false => self.guard_off(id),
        }
    }
}
