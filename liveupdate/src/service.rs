//! Which hypercall it is, and what all processors share.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lucos_data_versions::{Verdict, Write};
use lucos_guest_interface::call::{Call, NO_ITEM};
use lucos_guest_interface::{ErrorCode, Fault, Part};
use lucos_service::{AddressSpace, LiveupdateReply, LiveupdateRequest};
use lucos_transaction::journal::{JournalError, Presence};
use lucos_transaction::{Engine, Lookup, Redirects, Store};
use lucos_x86_code::jump::TRAP;
use spin::{Mutex, RwLock};

use crate::answer::{Answer, Arguments};
use crate::coherence::Coherence;
use crate::guarded::Guarded;
use crate::guest::{Guest, Stops};
use crate::pairs::Change;
use crate::platform::Platform;
use crate::query::Totals;
use crate::update::UPDATES;
use crate::{log, pairs, query, registration, torn, update, withdraw};

/// Registers of its answer: RAX, RBX, RCX, RDX.
pub type Results = [u64; 4];

/// What all processors share.
///
/// The engine is locked for a whole call; a second caller is told that it is busy. Lookups of
/// traps never wait for a transaction.
#[derive(Debug)]
pub struct Liveupdate<S> {
    engine: Mutex<Result<Engine<S>, JournalError>>,
    redirects: RwLock<Redirects>,
    coherence: Coherence,
    /// The journal holds something half done.
    unfinished: AtomicBool,
    /// The kernel of the guest said that it goes down.
    going_down: AtomicBool,
    /// Stops since the task started.
    stops: AtomicU64,
    longest_stop: AtomicU64,
    last_stop: AtomicU64,
    /// Redirections in the task's earlier lives.
    earlier_redirections: u64,
}

impl<S: Store> Liveupdate<S> {
    /// The service with the journal in `store`, on a machine of this many processors. The task was
    /// restarted when there were `earlier_redirections`.
    pub fn new(store: S, processors: u32, earlier_redirections: u64) -> Self {
        lucos_x86_code::prepare();
        let engine = Engine::open(store, TRAP);
        let functions = engine.as_ref().map_or(0, Engine::function_capacity);
        let mut redirects = Redirects::new(functions, processors);
        if let Ok(engine) = &engine {
            for (site, target) in engine.targets() {
                redirects.set(site, Some(target));
            }
        }
        let coherence = Coherence::new(engine.as_ref().ok());
        let service = Self {
            engine: Mutex::new(engine),
            redirects: RwLock::new(redirects),
            coherence,
            unfinished: AtomicBool::new(false),
            going_down: AtomicBool::new(false),
            stops: AtomicU64::new(0),
            longest_stop: AtomicU64::new(0),
            last_stop: AtomicU64::new(0),
            earlier_redirections,
        };
        if let Ok(engine) = &*service.engine.lock() {
            service.note(engine);
        }
        service
    }

    /// Why nothing can be updated, if so.
    pub fn journal_error(&self) -> Option<JournalError> {
        self.engine.lock().as_ref().err().copied()
    }

    /// How LUCOS makes upcalls.
    #[cfg(feature = "fault-injection")]
    pub fn upcalls(&self) -> Option<lucos_transaction::journal::Upcalls> {
        self.coherence.upcalls()
    }

    /// The journal's store, when the task has one that can be read.
    #[cfg(test)]
    pub(crate) fn into_store(self) -> S {
        self.engine.into_inner().map(Engine::into_store).unwrap()
    }

    /// As if a call were being served.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Sized + use<'_, S> {
        self.engine.lock()
    }

    /// Answers one request.
    pub fn answer<P: Platform>(
        &self,
        platform: &mut P,
        request: &LiveupdateRequest,
    ) -> LiveupdateReply {
        match *request {
            LiveupdateRequest::Hypercall { number, arguments, space, again } => {
                self.finish(platform);
                match Call::from_number(number.into()) {
                    // These two are the business of `vmx`.
                    None | Some(Call::Hello | Call::Park) => LiveupdateReply::NoSuchHypercall,
                    Some(call) => {
                        let caller = Caller { space, again };
                        LiveupdateReply::Results(self.hypercall(platform, call, arguments, caller))
                    }
                }
            }
            LiveupdateRequest::InvalidOpcode { rip, space, cpl } => {
                self.invalid_opcode(platform, rip, space, cpl)
            }
            LiveupdateRequest::GuardedWrite { gpa, space, implicit } => {
                self.finish(platform);
                self.guarded_write(platform, gpa, space, implicit)
            }
            LiveupdateRequest::Finish => {
                self.finish(platform);
                LiveupdateReply::RunOn
            }
        }
    }

    /// Finishes the write that this processor had begun when the task ended.
    fn finish<P: Platform>(&self, platform: &mut P) {
        if let Some((note, space)) = platform.note() {
            Guarded::new(platform, &self.coherence, space).run(Write::finish(note));
            self.withdraw_torn(platform, space);
        }
    }

    fn guarded_write<P: Platform>(
        &self,
        platform: &mut P,
        gpa: u64,
        space: AddressSpace,
        implicit: bool,
    ) -> LiveupdateReply {
        if self.unfinished.load(Ordering::Acquire) {
            // After a restart: what is half done is mended before anything is carried.
            self.recover(platform, space);
        }
        let mut guarded = Guarded::new(platform, &self.coherence, space);
        let verdict = match implicit {
            true => guarded.release(gpa),
            false => guarded.run(Write::begin(gpa)),
        };
        drop(guarded);
        self.withdraw_torn(platform, space);
        match verdict {
            Verdict::Done | Verdict::Again => LiveupdateReply::RunOn,
            Verdict::Fault(exception) => LiveupdateReply::Fault(exception.event()),
        }
    }

    /// Withdraws the patches of data that is torn. When somebody else is at work on updates, he does it
    /// when he is done.
    fn withdraw_torn<P: Platform>(&self, platform: &mut P, space: AddressSpace) {
        let torn = self.coherence.lock(platform).torn.clone();
        for torn in torn {
            let Some(mut engine) = self.engine.try_lock() else { return };
            let Ok(engine) = engine.as_mut() else { return };
            let mut guest = Guest::new(platform, space, &self.redirects, &self.coherence);
            if let Err(fault) = torn::take_back(engine, &mut guest, torn) {
                let number = torn.id.patch;
                guest.report(&UPDATES, format_args!("patch {number} stays, torn: {fault}"));
            }
            self.count(guest.stops());
            self.note(engine);
        }
    }

    fn hypercall<P: Platform>(
        &self,
        platform: &mut P,
        call: Call,
        arguments: Arguments,
        caller: Caller,
    ) -> Results {
        let [rbx, rcx, rdx, _] = arguments;
        let result = match call {
            Call::Log => log::log(platform, caller.space, arguments).map_err(Refused::from),
            _ => self.locked_call(platform, call, arguments, caller),
        };
        self.withdraw_torn(platform, caller.space);
        match result {
            Ok(Answer { rax, results }) => {
                let [first, second, third] = results;
                let kept = |result: Option<u64>, old| result.unwrap_or(old);
                [rax, kept(first, rbx), kept(second, rcx), kept(third, rdx)]
            }
            Err(Refused { fault, rip }) => {
                let code = fault.code.register_value();
                [code, rip.unwrap_or(rbx), fault.place(), fault.detail]
            }
        }
    }

    fn locked_call<P: Platform>(
        &self,
        platform: &mut P,
        call: Call,
        arguments: Arguments,
        caller: Caller,
    ) -> Result<Answer, Refused> {
        let mut engine = self.engine.try_lock().ok_or(Fault::new(ErrorCode::Busy, 0))?;
        let engine = engine.as_mut().map_err(|_| Part::Journal.fault(NO_ITEM))?;
        if caller.again && matches!(call, Call::Apply | Call::Rollback | Call::Withdraw) {
            engine.expect_repetition();
        }
        let mut guest = Guest::new(platform, caller.space, &self.redirects, &self.coherence);
        let answer = match call {
            Call::Register => registration::register(engine, &mut guest, arguments),
            Call::Unregister => registration::unregister(engine, &mut guest, arguments),
            Call::Apply => update::apply(engine, &mut guest, arguments),
            Call::Jump => update::jump(engine, &mut guest, arguments),
            Call::Rollback => update::rollback(engine, &mut guest, arguments),
            Call::Withdraw => withdraw::withdraw(engine, &mut guest, arguments),
            Call::Drained => update::drained(engine, &mut guest, arguments),
            Call::MeasureStop => update::measure_stop(engine, &mut guest, arguments),
            Call::Query => query::query(self.totals(), engine, &mut guest, arguments),
            Call::Pair => pairs::change(engine, &mut guest, arguments, Change::Comes),
            Call::Unpair => pairs::change(engine, &mut guest, arguments, Change::Goes),
            // Of upcalls, which do not come here.
            Call::Done => Err(Fault::new(ErrorCode::Unsupported, call.number().into())),
            Call::Hello | Call::Log | Call::Park => Err(Fault::new(ErrorCode::UnknownCall, 0)),
        };
        let rip = guest.ended_at;
        self.count(guest.stops());
        self.note(engine);
        answer.map_err(|fault| Refused { fault, rip })
    }

    fn count(&self, stops: Stops) {
        self.stops.fetch_add(stops.count, Ordering::Relaxed);
        self.longest_stop.fetch_max(stops.longest, Ordering::Relaxed);
        if stops.count > 0 {
            self.last_stop.store(stops.last, Ordering::Relaxed);
        }
    }

    fn totals(&self) -> Totals {
        let stops = Stops {
            count: self.stops.load(Ordering::Relaxed),
            longest: self.longest_stop.load(Ordering::Relaxed),
            last: self.last_stop.load(Ordering::Relaxed),
        };
        Totals { stops, redirections: self.redirections() }
    }

    /// All calls that ever came by way of a trap.
    fn redirections(&self) -> u64 {
        self.earlier_redirections.wrapping_add(self.redirects.read().redirections())
    }

    /// Keeps what can be known without the lock.
    fn note(&self, engine: &Engine<S>) {
        let going_down = engine.head().presence == Presence::GoingDown;
        self.unfinished.store(engine.is_unfinished(), Ordering::Release);
        self.going_down.store(going_down, Ordering::Release);
    }

    fn invalid_opcode<P: Platform>(
        &self,
        platform: &mut P,
        rip: u64,
        space: AddressSpace,
        cpl: u8,
    ) -> LiveupdateReply {
        if cpl != 0 {
            return LiveupdateReply::NotOurs;
        }
        if self.unfinished.load(Ordering::Acquire) {
            // After a restart: what is half done is mended before its traps mean anything.
            self.recover(platform, space);
        }
        let found = self.redirects.read().look_up(rip);
        match found {
            Lookup::Redirect { entry } => {
                platform.retain_redirections(self.redirections());
                LiveupdateReply::Redirect { rip: entry }
            }
            Lookup::Again => LiveupdateReply::Redirect { rip },
            Lookup::NotOurs => {
                if self.going_down.load(Ordering::Acquire) {
                    self.forget_kernel_that_is_gone(platform, space);
                }
                LiveupdateReply::NotOurs
            }
        }
    }

    fn recover<P: Platform>(&self, platform: &mut P, space: AddressSpace) {
        let mut engine = self.engine.lock();
        let Ok(engine) = engine.as_mut() else { return };
        let mut guest = Guest::new(platform, space, &self.redirects, &self.coherence);
        if let Err(fault) = guest.recover(engine) {
            guest.report(&UPDATES, format_args!("an update is left half done: {fault}"));
        }
        self.count(guest.stops());
        self.note(engine);
    }

    /// A kernel that said that it goes down may have started another one, which does not register.
    /// Then nothing of ours is in memory any more.
    fn forget_kernel_that_is_gone<P: Platform>(&self, platform: &mut P, space: AddressSpace) {
        let Some(mut engine) = self.engine.try_lock() else {
            return;
        };
        let Ok(engine) = engine.as_mut() else { return };
        let mut guest = Guest::new(platform, space, &self.redirects, &self.coherence);
        if !engine.stands(&mut guest) {
            // Tried again at the next invalid opcode when it fails.
            let _ = engine.forget_kernel(&mut guest);
        }
        self.count(guest.stops());
        self.note(engine);
    }
}

/// Why a hypercall is not served.
struct Refused {
    fault: Fault,
    /// Where the transfer function stood that was ended for it.
    rip: Option<u64>,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { fault, rip: None }
    }
}

/// Who makes a hypercall.
#[derive(Clone, Copy, Debug)]
struct Caller {
    space: AddressSpace,
    /// The call may have been served before.
    again: bool,
}
