//! What the update manager's replies say, in words of this program.

use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::call::Cause;
use lucos_guest_interface::name;
use lucos_guest_interface::reply::{
    self, EventKind, Failure, Item, LoadedFunction, LoadedPatch, LoadedState, MeasuredStops,
    RecordKind, ReplyFault, Verdict,
};
use lucos_guest_interface::status::{
    ExitCounters, Extension, FunctionStatus, PatchStatus, SiteState, SystemStatus, ValueState,
    ValueStatus, VersionState, VersionStatus, WindowReason,
};

use crate::error::{Error, Refusal};

/// The state of LUCOS and of the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Version of the interface that the manager speaks.
    pub interface: u32,
    /// Functions whose calls are led elsewhere before they get to LUCOS.
    pub overridden: u32,
    /// The virtualization extension in use.
    pub extension: Extension,
    /// What LUCOS says.
    pub system: SystemStatus,
    /// VM exits, where LUCOS tells them.
    pub exits: Option<ExitCounters>,
    /// Processors that the kernel knows and LUCOS does not have.
    pub outside: Vec<u32>,
}

/// A patch whose module is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Name of the patch.
    pub name: String,
    /// Name of its module.
    pub module: String,
    /// What it does.
    pub description: String,
    /// Whether it is in force, or how far it has gone.
    pub state: LoadedState,
    /// What LUCOS calls it.
    pub number: u32,
    /// Number of functions.
    pub functions: u32,
    /// Those whose calls are led elsewhere before they get to LUCOS.
    pub overridden: u32,
    /// What LUCOS knows of it, if it does.
    pub status: Option<PatchStatus>,
    /// For how many seconds more it is taken back when the kernel gets into trouble.
    pub probation: Option<u32>,
    /// What the kernel may go on using after a rollback.
    pub kept: Vec<Kept>,
    /// How many twins of each kind there are.
    pub twins: Vec<Twins>,
    /// Who is in its code, which is waited for.
    pub inside: Option<Inside>,
}

/// Something that the kernel may go on using after a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is.
    pub what: String,
    /// How the kernel comes to know it.
    pub how: String,
}

/// The twins of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twins {
    /// Name of the kind.
    pub name: String,
    /// How many there are.
    pub count: u64,
}

/// A thread that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// What the kernel calls it.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// Where it is; empty when that is not known.
    pub place: String,
    /// For how many seconds it has been found there.
    pub seconds: u64,
}

/// A function of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Name of the old function.
    pub name: String,
    /// Module that it belongs to; empty for the kernel.
    pub module: String,
    /// What LUCOS says.
    pub status: FunctionStatus,
    /// What stands at the site.
    pub state: SiteState,
    /// Why there is a trap and no jump.
    pub reason: WindowReason,
    /// Why the site is the ftrace slot.
    pub at_slot: Option<ErrorCode>,
    /// Whether calls are led elsewhere before they get to the site.
    pub overridden: bool,
    /// Who is in the window, in the way of the jump.
    pub inside: Option<Inside>,
}

/// A patch with its functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The patch.
    pub patch: Patch,
    /// Its functions, in its own order.
    pub functions: Vec<Function>,
    /// Its values, each of at most 16 bytes.
    pub values: Vec<Value>,
    /// Its data versions.
    pub versions: Vec<Version>,
}

/// A data version of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What it is called.
    pub name: String,
    /// What LUCOS says.
    pub status: VersionStatus,
    /// Which sides live.
    pub state: VersionState,
}

/// A value of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What it is called.
    pub name: String,
    /// What LUCOS says.
    pub status: ValueStatus,
    /// What is there.
    pub state: ValueState,
}

impl Value {
    /// The bytes that a rollback writes.
    #[must_use]
    pub fn old(&self) -> &[u8] {
        self.used(&self.status.old)
    }

    /// The bytes of the patch.
    #[must_use]
    pub fn new_bytes(&self) -> &[u8] {
        self.used(&self.status.new)
    }

    fn used<'a>(&self, field: &'a [u8; 16]) -> &'a [u8] {
        field.get(..self.status.length as usize).unwrap_or_default()
    }
}

/// A piece of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Offset of its first byte in the log.
    pub offset: u64,
    /// The text.
    pub text: Vec<u8>,
}

/// What the log says: LUCOS's own lines, and what became of patches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// LUCOS's own lines.
    pub pieces: Vec<Piece>,
    /// What became of patches, the oldest first.
    pub events: Vec<Event>,
}

/// Something that became of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Seconds since 1970 by the guest's clock.
    pub seconds: u64,
    /// What it was.
    pub kind: EventKind,
    /// Name of the patch.
    pub name: String,
    /// What LUCOS calls it, 0 when it does not know it.
    pub number: u32,
    /// Why it was refused or withdrawn; empty else.
    pub why: String,
    /// The same for programs.
    pub code: String,
    /// The program that asked for it, its process and its user.
    pub program: String,
    /// Process, 0 for the kernel.
    pub process: u32,
    /// User of the process.
    pub user: u32,
}

/// Checks a reply that has no record when all went well.
///
/// # Errors
/// [`Error::Refused`], or [`Error::Reply`] when the reply is not understood.
pub fn done(bytes: &[u8]) -> Result<(), Error> {
    nothing_more(&items(bytes)?)
}

/// Reads the reply to `status`.
///
/// # Errors
/// Those of [`done`].
pub fn status(bytes: &[u8]) -> Result<Status, Error> {
    let items = items(bytes)?;
    let (manager, rest) = match items.as_slice() {
        [Item::Manager(manager), rest @ ..] => (manager, rest),
        other => return Err(wrong(other, RecordKind::Manager)),
    };
    let (system, rest) = match rest {
        [Item::System(system), rest @ ..] => (system, rest),
        other => return Err(wrong(other, RecordKind::System)),
    };
    let (exits, rest) = match rest {
        [Item::Exits(exits), rest @ ..] => (Some(*exits), rest),
        rest => (None, rest),
    };
    let outside = rest.iter().map(|item| match item {
        Item::Outside(processor) => Ok(processor.number),
        item => Err(wrong(std::slice::from_ref(item), RecordKind::Outside)),
    });
    let outside = outside.collect::<Result<_, _>>()?;
    let extension = Extension::from_number(system.extension)
        .ok_or(ReplyFault::Field(RecordKind::System, "extension"))?;
    let (interface, overridden) = (manager.interface, manager.overridden);
    Ok(Status { interface, overridden, extension, system: *system, exits, outside })
}

/// Reads the reply to `list`.
///
/// # Errors
/// Those of [`done`].
pub fn list(bytes: &[u8]) -> Result<Vec<Patch>, Error> {
    let items = items(bytes)?;
    let (mut patches, mut rest) = (Vec::new(), items.as_slice());
    while !rest.is_empty() {
        patches.push(patch(&mut rest)?);
    }
    Ok(patches)
}

/// Reads the reply to `show`.
///
/// # Errors
/// Those of [`done`].
pub fn show(bytes: &[u8]) -> Result<Shown, Error> {
    let items = items(bytes)?;
    let mut rest = items.as_slice();
    let patch = patch(&mut rest)?;
    let mut functions = Vec::new();
    for _ in 0..patch.functions {
        match rest {
            [Item::Function(loaded), Item::Site(status), more @ ..] => {
                rest = more;
                let inside = inside(&mut rest);
                functions.push(Function { inside, ..function(loaded, status)? });
            }
            other => return Err(wrong(other, RecordKind::Function)),
        }
    }
    let mut values = Vec::new();
    for _ in 0..patch.status.map_or(0, |status| status.values) {
        match rest {
            [Item::Value(status), more @ ..] => {
                values.push(value(status)?);
                rest = more;
            }
            other => return Err(wrong(other, RecordKind::Value)),
        }
    }
    let mut versions = Vec::new();
    for _ in 0..patch.status.map_or(0, |status| status.data_versions) {
        match rest {
            [Item::Version(status), more @ ..] => {
                versions.push(version(status)?);
                rest = more;
            }
            other => return Err(wrong(other, RecordKind::Version)),
        }
    }
    nothing_more(rest)?;
    Ok(Shown { patch, functions, values, versions })
}

/// Reads the reply to `rollback`: values that stay.
///
/// # Errors
/// Those of [`done`].
pub fn values(bytes: &[u8]) -> Result<Vec<Value>, Error> {
    let values = items(bytes)?.into_iter().map(|item| match item {
        Item::Value(status) => Ok(value(&status)?),
        other => Err(wrong(&[other], RecordKind::Value)),
    });
    values.collect()
}

/// Reads the reply to `log`.
///
/// # Errors
/// Those of [`done`].
pub fn log(bytes: &[u8]) -> Result<Log, Error> {
    let mut log = Log::default();
    for item in items(bytes)? {
        match item {
            Item::Log(offset, text) if log.events.is_empty() => {
                log.pieces.push(Piece { offset, text: text.to_vec() });
            }
            Item::Event(record) => log.events.push(event(&record)?),
            other => return Err(wrong(&[other], RecordKind::Log)),
        }
    }
    Ok(log)
}

/// Reads the reply to `measure-stop`.
///
/// # Errors
/// Those of [`done`].
pub fn stops(bytes: &[u8]) -> Result<MeasuredStops, Error> {
    match items(bytes)?.as_slice() {
        [Item::Stops(stops)] => Ok(*stops),
        other => Err(wrong(other, RecordKind::Stops)),
    }
}

/// Reads the reply to `outcome`.
///
/// # Errors
/// [`Error::Refused`] too when the module was refused.
pub fn outcome(bytes: &[u8]) -> Result<Verdict, Error> {
    let items = items(bytes)?;
    let (outcome, rest) = match items.as_slice() {
        [Item::Outcome(outcome), rest @ ..] => (outcome, rest),
        other => return Err(wrong(other, RecordKind::Outcome)),
    };
    let verdict = Verdict::from_number(outcome.verdict)
        .ok_or(ReplyFault::Field(RecordKind::Outcome, "verdict"))?;
    match (verdict, rest) {
        (Verdict::Refused, [Item::Failure(failure)]) => Err(refusal(failure)?),
        (Verdict::Refused, other) => Err(wrong(other, RecordKind::Failure)),
        (verdict, rest) => nothing_more(rest).map(|()| verdict),
    }
}

/// The records of a reply that is no refusal.
fn items(bytes: &[u8]) -> Result<Vec<Item<'_>>, Error> {
    let items: Vec<Item<'_>> = reply::read(bytes)?.collect::<Result<_, _>>()?;
    match items.as_slice() {
        [Item::Failure(failure)] => Err(refusal(failure)?),
        _ => Ok(items),
    }
}

fn refusal(failure: &Failure) -> Result<Error, ReplyFault> {
    let fault = ReplyFault::Field(RecordKind::Failure, "code");
    let code = ErrorCode::from_number(failure.code).ok_or(fault)?;
    let detail = detail(code, failure.detail);
    Ok(Error::Refused(Refusal { code, subject: text(&failure.subject), detail }))
}

/// The detail of an error: mostly an address or a number.
fn detail(code: ErrorCode, detail: u64) -> String {
    match (code, i32::try_from(detail)) {
        (_, Ok(0)) => String::new(),
        (ErrorCode::HookFailed, Ok(errno)) => std::io::Error::from_raw_os_error(errno).to_string(),
        _ => format!("{detail:#x}"),
    }
}

fn event(record: &reply::Event) -> Result<Event, ReplyFault> {
    let wrong = |field| ReplyFault::Field(RecordKind::Event, field);
    let kind = EventKind::from_number(record.kind).ok_or(wrong("kind"))?;
    let mut event = Event {
        seconds: record.time / 1_000_000_000,
        kind,
        name: text(&record.name),
        number: record.number,
        why: String::new(),
        code: String::new(),
        program: text(&record.program),
        process: record.process,
        user: record.user,
    };
    match kind {
        EventKind::Applied | EventKind::RolledBack => {}
        EventKind::Withdrawn => {
            let cause = Cause::from_number(record.code).ok_or(wrong("code"))?;
            event.why = cause.meaning().to_owned();
            event.code = cause.c_name().to_owned();
        }
        EventKind::Refused | EventKind::NotRolledBack => {
            let code = ErrorCode::from_number(record.code).ok_or(wrong("code"))?;
            let subject = text(&record.subject);
            let refusal = Refusal { code, subject, detail: detail(code, record.detail) };
            event.why = refusal.to_string();
            event.code = code.c_name().to_owned();
        }
    }
    Ok(event)
}

fn value(status: &ValueStatus) -> Result<Value, ReplyFault> {
    let wrong = ReplyFault::Field(RecordKind::Value, "state");
    let state = ValueState::from_number(status.state).ok_or(wrong)?;
    Ok(Value { name: text(&status.name), status: *status, state })
}

fn version(status: &VersionStatus) -> Result<Version, ReplyFault> {
    let wrong = ReplyFault::Field(RecordKind::Version, "state");
    let state = VersionState::from_number(status.state).ok_or(wrong)?;
    Ok(Version { name: text(&status.name), status: *status, state })
}

fn wrong(found: &[Item<'_>], expected: RecordKind) -> Error {
    let fault = match found.first() {
        Some(item) => ReplyFault::Unexpected(item.kind()),
        None => ReplyFault::Missing(expected),
    };
    fault.into()
}

fn nothing_more(rest: &[Item<'_>]) -> Result<(), Error> {
    match rest.first() {
        None => Ok(()),
        Some(item) => Err(ReplyFault::Unexpected(item.kind()).into()),
    }
}

/// Splits a patch off, with what is said of it.
fn patch(items: &mut &[Item<'_>]) -> Result<Patch, Error> {
    let (loaded, mut rest): (&LoadedPatch, _) = match *items {
        [Item::Loaded(loaded), rest @ ..] => (loaded, rest),
        other => return Err(wrong(other, RecordKind::Loaded)),
    };
    let state = LoadedState::from_number(loaded.state)
        .ok_or(ReplyFault::Field(RecordKind::Loaded, "state"))?;
    let mut patch = Patch {
        name: text(&loaded.name),
        module: text(&loaded.module),
        description: text(&loaded.description),
        state,
        number: loaded.number,
        functions: loaded.functions,
        overridden: loaded.overridden,
        status: None,
        probation: None,
        kept: Vec::new(),
        twins: Vec::new(),
        inside: None,
    };
    if let [Item::Patch(status), more @ ..] = rest {
        (patch.status, rest) = (Some(*status), more);
    }
    if let [Item::Probation(probation), more @ ..] = rest {
        (patch.probation, rest) = (Some(probation.seconds), more);
    }
    while let [Item::Kept(kept), more @ ..] = rest {
        patch.kept.push(Kept { what: text(&kept.what), how: text(&kept.how) });
        rest = more;
    }
    while let [Item::Twins(twins), more @ ..] = rest {
        patch.twins.push(Twins { name: text(&twins.name), count: twins.count });
        rest = more;
    }
    patch.inside = inside(&mut rest);
    *items = rest;
    Ok(patch)
}

/// Splits off who stands in the way, if anybody does.
fn inside(items: &mut &[Item<'_>]) -> Option<Inside> {
    let [Item::Inside(inside), rest @ ..] = *items else { return None };
    *items = rest;
    Some(Inside {
        thread: inside.thread,
        name: text(&inside.name),
        place: text(&inside.place),
        seconds: inside.seconds,
    })
}

fn function(loaded: &LoadedFunction, status: &FunctionStatus) -> Result<Function, ReplyFault> {
    let wrong = |field| ReplyFault::Field(RecordKind::Site, field);
    Ok(Function {
        name: text(&status.name),
        module: text(&loaded.module),
        status: *status,
        state: SiteState::from_number(status.state).ok_or(wrong("state"))?,
        reason: WindowReason::from_number(status.reason).ok_or(wrong("reason"))?,
        at_slot: ErrorCode::from_number(loaded.at_slot),
        overridden: loaded.overridden != 0,
        inside: None,
    })
}

/// The text of a field that was checked.
pub fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(name::text(field).unwrap_or_default()).into_owned()
}

#[cfg(test)]
pub(crate) mod tests;
