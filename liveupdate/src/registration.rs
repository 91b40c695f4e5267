//! REGISTER and UNREGISTER.

use alloc::vec::Vec;

use lucos_guest_interface::call::{NO_ITEM, UnregisterReason};
use lucos_guest_interface::registration::{Registration as Record, RegistrationRecord};
use lucos_guest_interface::{ErrorCode, Fault};
use lucos_service::client::Failure;
use lucos_service::{GuardKind, LogBudget, MemoryRequest, QUARTER_HOUR};
use lucos_transaction::journal::{Registration, Upcalls};
use lucos_transaction::{Engine, Store, Subject as _};

use crate::answer::{Answer, Arguments, check_nonce};
use crate::buffer::copy_in;
use crate::coherence::{State, upcall_pages};
use crate::guest::{Guest, subject_error};
use crate::platform::Platform;

/// Longest registration record that is looked at, in bytes: later versions may be longer, and are
/// refused by their version.
const RECORD_MAX: u64 = 4096;

/// Lines about registrations. Each boot of a guest is one.
static REGISTRATIONS: LogBudget = LogBudget::new(32, QUARTER_HOUR);

/// Takes the registration of an update manager.
///
/// # Errors
/// `Argument` for the nonce 0, `Length`, `Address`, `Registration` at the offset of the wrong
/// field (that of the boot identity when it is another one and the kernel is not; that of the pages of
/// upcalls when they cannot be used), and those of the machine.
pub fn register<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, address, length, _]: Arguments,
) -> Result<Answer, Fault> {
    if nonce == 0 {
        return Err(Fault::new(ErrorCode::Argument, nonce));
    }
    if length < RegistrationRecord::SIZE as u64 || length > RECORD_MAX {
        return Err(Fault::new(ErrorCode::Length, length));
    }
    let space = guest.space();
    let bytes = copy_in(guest.platform(), space, address, length as usize)?;
    let record = Record::parse(&bytes)?;
    let fields = record.record();
    let upcalls = record.takes_upcalls().then_some(Upcalls {
        entry: fields.upcall_entry,
        pages: fields.upcall_pages,
        processors: fields.processors,
    });
    let registration = Registration {
        nonce,
        root: space.root,
        five_levels: space.five_levels,
        boot_identity: fields.boot_identity,
        // At most 20 bytes: the record was parsed.
        build_id: record.build_id().iter().copied().collect(),
        text: (fields.text_start, fields.text_end),
        modules: (fields.modules_start, fields.modules_end),
        upcalls,
    };
    if let Some(upcalls) = upcalls {
        let pages = upcall_pages(guest.platform(), space, upcalls);
        pages.map_err(|failure| pages_fault(failure, upcalls.pages))?;
    }
    guest.platform().forward_kicks(true).map_err(|error| error.fault(NO_ITEM))?;
    let in_force = engine.register(guest, registration)?;
    if let Err(fault) = guest.lend(engine, upcalls) {
        // Without them nobody could be told that they are missing.
        engine.unregister(false)?;
        return Err(fault);
    }
    guest.report(
        &REGISTRATIONS,
        format_args!("update manager registered, {in_force} patches in force"),
    );
    Ok(Answer::rbx(in_force as u64))
}

/// Ends a registration.
///
/// # Errors
/// `NotRegistered`, `Nonce`, `Argument` for an unknown reason; `NotSettled` when the manager goes while
/// both sides of some data live, of which it is needed.
pub fn unregister<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, reason, _, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    let unknown = Fault::new(ErrorCode::Argument, reason);
    let reason = u32::try_from(reason).ok().and_then(UnregisterReason::from_number);
    let reason = reason.ok_or(unknown)?;
    let goes_down = reason == UnregisterReason::KernelDown;
    guest.recover(engine)?;
    if !goes_down && let Some(patch) = engine.patches().iter().find(|patch| patch.is_settling()) {
        return Err(Fault::new(ErrorCode::NotSettled, patch.number.into()));
    }
    engine.unregister(goes_down)?;
    if goes_down {
        guest.release_all()?;
    } else {
        guest.lend(engine, None)?;
    }
    guest.platform().forward_kicks(false).map_err(|error| error.fault(u32::MAX))?;
    guest.report(&REGISTRATIONS, format_args!("update manager gone: {}", reason.meaning()));
    Ok(Answer::default())
}

/// Offset of `upcall_pages` in the registration record.
const UPCALL_PAGES_FIELD: u64 = 96;

impl<P: Platform> Guest<'_, P> {
    /// Takes the pages of upcalls that a manager lends, in the place of those that LUCOS has; and gives
    /// back whatever else was guarded for patches that are not known any more.
    fn lend<S: Store>(&mut self, engine: &Engine<S>, new: Option<Upcalls>) -> Result<(), Fault> {
        let mut state = self.coherence.lock(self.platform);
        state.keep(engine);
        (state.upcalls, state.copies) = (None, Vec::new());
        let swept = state.sweep(self.platform, self.space);
        drop(state);
        swept.map_err(|failure| subject_error(failure, 0).fault(NO_ITEM))?;
        let Some(new) = new else { return Ok(()) };
        let at_pages = |failure| pages_fault(failure, new.pages);
        let pages = upcall_pages(self.platform, self.space, new).map_err(at_pages)?;
        // In a stop: the NMIs that take rights from a processor are those that the manager knows.
        self.stop().map_err(|error| error.fault(NO_ITEM))?;
        let lent = self.take(new, &pages);
        let resumed = self.resume().map_err(|error| error.fault(NO_ITEM));
        lent.map_err(at_pages).and(resumed)
    }

    /// Takes pages of upcalls, or none of them.
    fn take(
        &mut self,
        new: Upcalls,
        (written, copies): &(Vec<u64>, Vec<u64>),
    ) -> Result<(), Failure> {
        let Some(state) = self.held.as_deref_mut() else { return Err(Failure::Protocol) };
        let provided = self.platform.guard(GuardKind::Provided, true, written);
        let taken = provided.and_then(|()| self.platform.guard(GuardKind::Sealed, true, copies));
        match taken {
            Ok(()) => state.upcalls = Some(new),
            Err(_) => state.sweep(self.platform, self.space)?,
        }
        taken
    }

    /// Leaves everything to a kernel that goes down.
    fn release_all(&mut self) -> Result<(), Fault> {
        let mut state = self.coherence.lock(self.platform);
        let released = self.platform.order(&MemoryRequest::ReleaseAll);
        released.map_err(|failure| subject_error(failure, 0).fault(NO_ITEM))?;
        *state = State::default();
        Ok(())
    }
}

fn pages_fault(failure: Failure, address: u64) -> Fault {
    use lucos_service::MemoryError::{OtherGuard, TooManyPages};
    match failure {
        Failure::Memory(OtherGuard { .. } | TooManyPages) => {
            Fault::new(ErrorCode::Registration, UPCALL_PAGES_FIELD)
        }
        failure => subject_error(failure, address).fault(NO_ITEM),
    }
}
