//! REGISTER and UNREGISTER.

use lucos_guest_interface::call::UnregisterReason;
use lucos_guest_interface::registration::{Registration as Record, RegistrationRecord};
use lucos_guest_interface::{ErrorCode, Fault};
use lucos_service::{LogBudget, QUARTER_HOUR};
use lucos_transaction::journal::Registration;
use lucos_transaction::{Engine, Store};

use crate::answer::{Answer, Arguments, check_nonce};
use crate::buffer::copy_in;
use crate::guest::Guest;
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
/// field (that of the boot identity when it is another one and the kernel is not), `Unsupported` for
/// upcalls, and those of the machine.
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
    if record.takes_upcalls() {
        return Err(Fault::new(ErrorCode::Unsupported, record.record().upcall_entry));
    }
    let fields = record.record();
    let registration = Registration {
        nonce,
        root: space.root,
        five_levels: space.five_levels,
        boot_identity: fields.boot_identity,
        // At most 20 bytes: the record was parsed.
        build_id: record.build_id().iter().copied().collect(),
        text: (fields.text_start, fields.text_end),
        modules: (fields.modules_start, fields.modules_end),
    };
    guest.platform().forward_kicks(true).map_err(|error| error.fault(u32::MAX))?;
    let in_force = engine.register(guest, registration)?;
    guest.report(
        &REGISTRATIONS,
        format_args!("update manager registered, {in_force} patches in force"),
    );
    Ok(Answer::rbx(in_force as u64))
}

/// Ends a registration.
///
/// # Errors
/// `NotRegistered`, `Nonce`, `Argument` for an unknown reason.
pub fn unregister<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    [nonce, reason, _, _]: Arguments,
) -> Result<Answer, Fault> {
    check_nonce(engine, nonce)?;
    let unknown = Fault::new(ErrorCode::Argument, reason);
    let reason = u32::try_from(reason).ok().and_then(UnregisterReason::from_number);
    let reason = reason.ok_or(unknown)?;
    engine.unregister(reason == UnregisterReason::KernelDown)?;
    guest.platform().forward_kicks(false).map_err(|error| error.fault(u32::MAX))?;
    guest.report(&REGISTRATIONS, format_args!("update manager gone: {}", reason.meaning()));
    Ok(Answer::default())
}
