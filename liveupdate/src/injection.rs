//! Faults at chosen steps of a hypercall, ordered by a test, and the hash of all guest memory
//! around them.
//!
//! A report of each hypercall that an order was for goes to the log.

use core::fmt;
use core::mem::take;

use lucos_abi::layout::PAGE;
use lucos_abi::object::{COUNTERS, ExitReason};
use lucos_abi::registers::Registers;
use lucos_data_versions::Note;
use lucos_guest_interface::call::Call;
use lucos_guest_interface::{ErrorCode, Part};
use lucos_service::client::{Failure, Memory};
use lucos_service::injection::{CALL, GUARDED_WRITE, Injection, Step};
use lucos_service::{
    AddressSpace, LiveupdateReply, LiveupdateRequest, MemoryReply, MemoryRequest, places,
};
use lucos_transaction::SubjectError;
use lucos_transaction::journal::{Store, StoreError, Upcalls};
use lucos_transaction::subject::Place;
use spin::{Mutex, MutexGuard};

use crate::kernel::Real;
use crate::late::Late;
use crate::platform::{Facts, Platform};
use crate::upcall::Pages;

type Hash = [u8; 32];

/// The order, and what came of it so far.
#[derive(Debug)]
struct State {
    order: Option<Injection>,
    /// The processor on which the hypercall that it is for is being served. What others ask for
    /// meanwhile is not concerned.
    serving: Option<u32>,
    /// Calls of its number that went by.
    skipped: u8,
    /// This one goes by.
    passes: bool,
    /// The address space of the caller, and how LUCOS makes upcalls there.
    upcalls: Option<(AddressSpace, Upcalls)>,
    steps: u64,
    fired: bool,
    stopped: bool,
    /// `memory` is to be told before it is asked the next time.
    end_memory: bool,
    before: Option<Hash>,
    after: Option<Hash>,
}

impl State {
    const NEW: Self = Self {
        order: None,
        serving: None,
        skipped: 0,
        passes: false,
        upcalls: None,
        steps: 0,
        fired: false,
        stopped: false,
        end_memory: false,
        before: None,
        after: None,
    };

    fn step(&self) -> Option<Step> {
        match self.order? {
            Injection::StepFails(step)
            | Injection::LiveupdateEnds(step)
            | Injection::MemoryEnds(step) => Some(step),
            Injection::VmxEnds { .. } | Injection::VmxAlwaysEnds => None,
        }
    }

    fn hashes(&self) -> bool {
        self.step().is_some_and(|step| step.hash && !self.passes)
    }
}

static STATE: Mutex<State> = Mutex::new(State::NEW);

/// Counts a step. True when it is to fail.
///
/// # Panics
/// When this task is to end in it.
fn step() -> bool {
    match next_steps(1) {
        Some(Trouble { kind: Kind::Fails, .. }) => true,
        Some(Trouble { kind: Kind::Ends, .. }) => end(),
        Some(Trouble { kind: Kind::MemoryEnds, .. }) => {
            STATE.lock().end_memory = true;
            false
        }
        None => false,
    }
}

/// What happens in one of several steps.
struct Trouble {
    kind: Kind,
    /// Steps that are done before.
    before: usize,
}

enum Kind {
    Fails,
    Ends,
    MemoryEnds,
}

fn end() -> ! {
    panic!("a test has ordered the end of this task")
}

/// Counts steps, up to the one in which something is to happen.
fn next_steps(count: usize) -> Option<Trouble> {
    let mut state = STATE.lock();
    let step = state.step().filter(|_| state.serving.is_some() && !state.passes)?;
    let before = usize::try_from(step.number.checked_sub(state.steps)?).ok();
    let Some(before) = before.filter(|&before| before < count) else {
        state.steps += count as u64;
        return None;
    };
    state.steps = step.number + 1;
    state.fired = true;
    let kind = match state.order? {
        Injection::StepFails(_) => Kind::Fails,
        Injection::MemoryEnds(_) => Kind::MemoryEnds,
        Injection::LiveupdateEnds(_) => Kind::Ends,
        Injection::VmxEnds { .. } | Injection::VmxAlwaysEnds => return None,
    };
    Some(Trouble { kind, before })
}

/// Takes an order; gives the answer to its hypercall.
pub fn order(request: &LiveupdateRequest) -> Option<LiveupdateReply> {
    let LiveupdateRequest::Hypercall { number: CALL, arguments, .. } = *request else {
        return None;
    };
    let injection = Injection::from_arguments(arguments);
    *STATE.lock() = State { order: injection, ..State::NEW };
    let [rbx, rcx, rdx, _] = arguments;
    let rax = match injection {
        Some(_) => 0,
        None => ErrorCode::Argument.register_value(),
    };
    Some(LiveupdateReply::Results([rax, rbx, rcx, rdx]))
}

/// A request is going to be served on this processor. LUCOS makes upcalls in this way.
pub fn begin(request: &LiveupdateRequest, processor: u32, upcalls: Option<Upcalls>) {
    let mut state = STATE.lock();
    let (call, space) = match *request {
        LiveupdateRequest::Hypercall { number, space, .. } => (number, space),
        LiveupdateRequest::GuardedWrite { space, .. } => (GUARDED_WRITE, space),
        LiveupdateRequest::InvalidOpcode { .. } | LiveupdateRequest::Finish => return,
    };
    let ordered = state.step().filter(|step| state.serving.is_none() && step.call == call);
    let Some(step) = ordered else { return };
    state.serving = Some(processor);
    state.passes = state.skipped < step.skip;
    state.upcalls = upcalls.map(|upcalls| (space, upcalls));
    // Neither stops the guest.
    state.stopped = call == GUARDED_WRITE || u32::from(call) == Call::Unpair.number();
}

/// A request was served with this reply.
pub fn report(platform: &mut impl Platform, reply: &LiveupdateReply) {
    let mut state = STATE.lock();
    let is_served = state.serving == Some(platform.processor());
    let Some(step) = state.step().filter(|_| is_served) else {
        return;
    };
    let result = match reply {
        LiveupdateReply::Results([rax, ..]) => *rax,
        _ => 0,
    };
    let State { order, skipped, passes, steps, fired, before, after, .. } = *state;
    let is_busy = result == ErrorCode::Busy.register_value();
    if passes || is_busy {
        // It comes again.
        *state = State { order, skipped: skipped + u8::from(!is_busy), ..State::NEW };
        return;
    }
    *state = State::NEW;
    drop(state);
    let result = result.cast_signed();
    let (call, before, after) = (step.call, Shown(before), Shown(after));
    platform.log(format_args!(
        "injection: call {call} steps {steps} fired {fired} result {result} \
         before {before} after {after}"
    ));
}

struct Shown(Option<Hash>);

impl fmt::Display for Shown {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(hash) = &self.0 else {
            return to.write_str("-");
        };
        hash.iter().try_for_each(|byte| write!(to, "{byte:02x}"))
    }
}

/// The kernel, with faults.
#[derive(Debug)]
pub struct Faulty<'a>(pub Real<'a>);

impl Faulty<'_> {
    /// The order, if this processor serves the hypercall that it is for.
    fn served(&self) -> Option<MutexGuard<'static, State>> {
        Some(STATE.lock()).filter(|state| state.serving == Some(self.processor()))
    }

    fn is_served(&self) -> bool {
        self.served().is_some()
    }

    fn is_stopped(&self) -> bool {
        self.served().is_some_and(|state| state.stopped)
    }

    fn machine_step(&self) -> Result<(), SubjectError> {
        if self.is_stopped() && step() { Err(FAILED) } else { Ok(()) }
    }

    /// What upcalls have left on the pages that the guest has lent for them is not looked at.
    fn hash(&mut self) -> Result<Hash, SubjectError> {
        let upcalls = self.served().and_then(|state| state.upcalls);
        if let Some((space, upcalls)) = upcalls
            && let Ok(pages) = Pages::of(Some(upcalls), self.processor())
        {
            let zero = MemoryRequest::Zero { space, address: pages.stack, length: 2 * PAGE };
            self.0.order(&zero).map_err(|_| FAILED)?;
        }
        let hash = self.0.ask(&MemoryRequest::Hash, |reply| match reply {
            MemoryReply::Hash(hash) => Ok(hash),
            _ => Err(Failure::Protocol),
        });
        hash.map_err(|_| FAILED)
    }

    /// A step that asks `memory`.
    fn memory_step(&mut self, request: &MemoryRequest<'_>) -> Result<(), Failure> {
        let is_step = match request {
            MemoryRequest::HiddenAccesses => false,
            MemoryRequest::Guard { .. } => self.is_served(),
            _ => self.is_stopped(),
        };
        if is_step && step() {
            return Err(Failure::Restarted);
        }
        self.end_memory_if_ordered()
    }

    /// An earlier step may have been the one at which `memory` is to end.
    fn end_memory_if_ordered(&mut self) -> Result<(), Failure> {
        let Some(mut state) = self.served() else { return Ok(()) };
        let writes = state.step().map_or(0, |step| step.writes);
        let ends = take(&mut state.end_memory);
        drop(state);
        if ends { self.end_memory(writes.into()) } else { Ok(()) }
    }

    /// `memory` is to end in the next request, when it has written so often.
    fn end_memory(&mut self, writes: usize) -> Result<(), Failure> {
        self.0.order(&MemoryRequest::EndAfterWrites { writes: writes as u32 })
    }
}

/// What a step fails with that a test has ordered to fail.
const FAILED: SubjectError = SubjectError::Failed(Part::Memory);

impl Memory for Faulty<'_> {
    fn ask<T>(
        &mut self,
        request: &MemoryRequest<'_>,
        value: impl FnMut(MemoryReply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.memory_step(request)?;
        self.0.ask(request, value)
    }

    /// Each place is a step.
    fn write_code(
        &mut self,
        space: AddressSpace,
        code: &[Place<'_>],
    ) -> Result<(), places::PlaceError<Failure>> {
        let failed_at = |place| move |error| places::PlaceError { place, error };
        self.end_memory_if_ordered().map_err(failed_at(0))?;
        let trouble = if self.is_stopped() { next_steps(code.len()) } else { None };
        let Some(Trouble { kind, before }) = trouble else {
            return self.0.write_code(space, code);
        };
        if matches!(kind, Kind::MemoryEnds) {
            self.end_memory(before).map_err(failed_at(before))?;
            return self.0.write_code(space, code);
        }
        self.0.write_code(space, code.get(..before).unwrap_or_default())?;
        match kind {
            Kind::Ends => end(),
            _ => Err(failed_at(before)(Failure::Restarted)),
        }
    }
}

impl Platform for Faulty<'_> {
    fn facts(&self) -> Facts {
        self.0.facts()
    }

    fn processor(&self) -> u32 {
        self.0.processor()
    }

    fn time(&mut self) -> u64 {
        self.0.time()
    }

    fn stop(&mut self) -> Result<(), SubjectError> {
        if self.is_served() && step() {
            return Err(SubjectError::Late);
        }
        self.0.stop()?;
        let Some(hashes) = self.served().map(|state| state.hashes()) else {
            return Ok(());
        };
        if hashes {
            let hash = self.hash()?;
            STATE.lock().before.get_or_insert(hash);
        }
        STATE.lock().stopped = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), SubjectError> {
        let hashes = self.served().map(|mut state| {
            state.stopped = false;
            state.hashes()
        });
        if hashes == Some(true) {
            let hash = self.hash()?;
            STATE.lock().after = Some(hash);
        }
        self.0.resume()
    }

    fn registers(&mut self, processor: u32) -> Result<Option<Registers>, SubjectError> {
        self.machine_step()?;
        self.0.registers(processor)
    }

    fn confined(
        &mut self,
        start: Option<&Registers>,
        steps: u32,
    ) -> Result<(ExitReason, Registers), SubjectError> {
        // How often an upcall is interrupted is not the same each time: only its begin is a step.
        if start.is_some() {
            self.machine_step()?;
        }
        self.0.confined(start, steps)
    }

    fn end_detour(&mut self) -> Result<(), SubjectError> {
        self.0.end_detour()
    }

    fn look(&mut self, gpa: u64, to: &mut [u8]) -> Result<(), Failure> {
        self.0.look(gpa, to)
    }

    fn note(&self) -> Option<(Note, AddressSpace)> {
        self.0.note()
    }

    fn others_have_notes(&self) -> bool {
        self.0.others_have_notes()
    }

    fn retain_note(&mut self, note: &Note, space: AddressSpace) -> Result<(), SubjectError> {
        self.machine_step()?;
        self.0.retain_note(note, space)
    }

    fn late(&self, place: usize) -> Option<Late> {
        self.0.late(place)
    }

    fn retain_late(&mut self, place: usize, late: Option<Late>) -> Result<(), SubjectError> {
        self.machine_step()?;
        self.0.retain_late(place, late)
    }

    fn clear_note(&mut self) -> Result<(), SubjectError> {
        self.machine_step()?;
        self.0.clear_note()
    }

    fn intercept(&mut self, on: bool) -> Result<(), SubjectError> {
        self.machine_step()?;
        self.0.intercept(on)
    }

    fn forward_kicks(&mut self, on: bool) -> Result<(), SubjectError> {
        self.0.forward_kicks(on)
    }

    fn counters(&mut self) -> Result<[u64; COUNTERS], SubjectError> {
        self.0.counters()
    }

    fn retain_redirections(&mut self, count: u64) {
        self.0.retain_redirections(count);
    }

    fn read_log(&mut self, offset: u64, bytes: &mut [u8]) -> (u64, usize) {
        self.0.read_log(offset, bytes)
    }

    fn log(&mut self, line: fmt::Arguments<'_>) {
        self.0.log(line);
    }
}

/// The journal's pages, with faults.
#[derive(Clone, Copy, Debug)]
pub struct FaultyStore<S>(pub S);

impl<S: Store> Store for FaultyStore<S> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.0.read(offset, bytes)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), StoreError> {
        if step() {
            return Err(StoreError);
        }
        self.0.write(offset, bytes)
    }
}
