//! What the update manager answers to a command that is written to `/dev/lucos`.
//!
//! A reply is a [`ReplyHeader`] and so many records, each behind a [`RecordHeader`]. Records of
//! LUCOS itself are handed on as LUCOS filled them. A command that failed is answered with one
//! [`Failure`]; one that did something and has nothing to tell, with no record.
//!
//! Every byte is checked: an [`Item`] holds what its record promises.

use crate::error::ErrorCode;
use crate::name::{self, NAME_SIZE};
use crate::patch_module::PatchKeptRecord;
use crate::status::{
    ExitCounters, Extension, FunctionStatus, PatchState, PatchStatus, STATUS_VERSION, SiteState,
    SystemStatus, WindowReason,
};

/// Version of every record that only the manager fills.
pub const REPLY_VERSION: u32 = 1;

listing! {
    /// What a record of a reply is.
    pub enum RecordKind {
        Failure = 1, "FAILURE", "why the command failed, or the load before it: a Failure";
        Manager = 2, "MANAGER", "a ManagerStatus";
        System = 3, "SYSTEM", "a SystemStatus";
        Exits = 4, "EXITS", "an ExitCounters, of all processors";
        Loaded = 5, "LOADED", "a LoadedPatch";
        Patch = 6, "PATCH", "what LUCOS knows of the patch before it: a PatchStatus";
        Kept = 7, "KEPT", "what the kernel may keep of the patch before it: a PatchKept";
        Function = 8, "FUNCTION", "a LoadedFunction of the patch before it";
        Site = 9, "SITE", "what LUCOS knows of the function before it: a FunctionStatus";
        Log = 10, "LOG", "a LogPiece, and behind it the text, filled up with zeros to eight bytes";
        Stops = 11, "STOPS", "a MeasuredStops";
        Outcome = 12, "OUTCOME", "a LoadOutcome";
        Outside = 13, "OUTSIDE", "a processor that the kernel knows and LUCOS does not have: an OutsideProcessor";
    }
}

listing! {
    /// What is true of a patch whose module is loaded.
    pub enum LoadedState {
        Applied = 1, "APPLIED", "the new functions are in force";
        Draining = 2, "DRAINING", "rolled back, its code may be in use";
        Unused = 3, "UNUSED", "rolled back, nobody is in its code";
        Kept = 4, "KEPT", "rolled back, the kernel may use its memory";
    }
}

listing! {
    /// How the load of a patch module ended.
    pub enum Verdict {
        None = 0, "NONE", "the manager saw no load of this module";
        Applied = 1, "APPLIED", "the patch is in force";
        Checked = 2, "CHECKED", "nothing is wrong with the patch, and nothing was applied";
        Refused = 3, "REFUSED", "the patch was refused";
    }
}

record! {
    /// The start of a reply.
    pub struct ReplyHeader = "lucos_reply", 16 bytes {
        /// [`REPLY_VERSION`].
        pub version: u32,
        /// Number of records.
        pub records: u32,
        /// Bytes of the reply, this header included.
        pub length: u64,
    }
}

record! {
    /// The start of a record in a reply.
    pub struct RecordHeader = "lucos_record", 8 bytes {
        /// A [`RecordKind`].
        pub kind: u32,
        /// Bytes of the record behind this header, a multiple of eight.
        pub size: u32,
    }
}

record! {
    /// Why something failed.
    pub struct Failure = "lucos_failure", 80 bytes {
        /// An [`ErrorCode`].
        pub code: u32,
        /// Zero.
        pub reserved: u32,
        /// An address or number that says more, 0 for none.
        pub detail: u64,
        /// The patch, function or module at fault as NUL-terminated text; may be empty.
        pub subject: [u8; 64],
    }
}

record! {
    /// The state of the manager.
    pub struct ManagerStatus = "lucos_manager_status", 8 bytes {
        /// Version of the interface that it speaks.
        pub interface: u32,
        /// Functions of applied patches whose calls are led elsewhere before they get to LUCOS's
        /// site.
        pub overridden: u32,
    }
}

record! {
    /// A processor that the kernel knows and LUCOS does not have.
    pub struct OutsideProcessor = "lucos_outside_processor", 8 bytes {
        /// What the kernel calls it.
        pub number: u32,
        /// Zero.
        pub reserved: u32,
    }
}

record! {
    /// A patch whose module is loaded.
    pub struct LoadedPatch = "lucos_loaded_patch", 272 bytes {
        /// A [`LoadedState`].
        pub state: u32,
        /// What LUCOS calls it.
        pub number: u32,
        /// Number of functions.
        pub functions: u32,
        /// Those whose calls are led elsewhere before they get to LUCOS's site.
        pub overridden: u32,
        /// Name of the patch.
        pub name: [u8; 64],
        /// Name of its module.
        pub module: [u8; 64],
        /// What it does, as NUL-terminated text; may be empty.
        pub description: [u8; 128],
    }
}

record! {
    /// A function of a loaded patch.
    pub struct LoadedFunction = "lucos_loaded_function", 72 bytes {
        /// Why the site is the ftrace slot: an [`ErrorCode`]; 0 when it is not.
        pub at_slot: u32,
        /// 1 when calls are led elsewhere before they get to the site.
        pub overridden: u32,
        /// Module that the old function belongs to; empty for the kernel.
        pub module: [u8; 64],
    }
}

record! {
    /// A piece of the log.
    pub struct LogPiece = "lucos_log_piece", 16 bytes {
        /// Offset of the first byte in the log.
        pub offset: u64,
        /// Bytes of text.
        pub length: u64,
    }
}

record! {
    /// Stops that were made to be measured.
    pub struct MeasuredStops = "lucos_measured_stops", 16 bytes {
        /// How many.
        pub stops: u64,
        /// The longest one in TSC ticks.
        pub longest: u64,
    }
}

record! {
    /// How the last load of a patch module ended.
    pub struct LoadOutcome = "lucos_load_outcome", 8 bytes {
        /// A [`Verdict`]. Behind [`Verdict::Refused`] stands a [`Failure`].
        pub verdict: u32,
        /// Zero.
        pub reserved: u32,
    }
}

/// What is wrong with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyFault {
    /// It ends before its header says so, or goes on behind.
    Length,
    /// It has another version.
    Version(u32),
    /// A record has an unknown kind.
    Kind(u32),
    /// A record of this kind does not have its size.
    Size(RecordKind),
    /// A field of a record of this kind has a value that it cannot have.
    Field(RecordKind, &'static str),
    /// A record of this kind is not what the command is answered with.
    Unexpected(RecordKind),
    /// A record is missing.
    Missing(RecordKind),
}

impl core::fmt::Display for ReplyFault {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length => write!(formatter, "it does not have the length that it says"),
            Self::Version(version) => {
                write!(formatter, "it has version {version}, not {REPLY_VERSION}")
            }
            Self::Kind(kind) => write!(formatter, "it has a record of the unknown kind {kind}"),
            Self::Size(kind) => {
                write!(formatter, "a record {} does not have its size", kind.c_name())
            }
            Self::Field(kind, field) => {
                write!(formatter, "a record {} has a wrong {field}", kind.c_name())
            }
            Self::Unexpected(kind) => {
                write!(formatter, "a record {} stands where none can", kind.c_name())
            }
            Self::Missing(kind) => write!(formatter, "a record {} is missing", kind.c_name()),
        }
    }
}

impl core::error::Error for ReplyFault {}

/// One record of a reply, with what it promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Why the command failed, or the load before it.
    Failure(Failure),
    /// The state of the manager.
    Manager(ManagerStatus),
    /// The state of LUCOS.
    System(SystemStatus),
    /// VM exits of all processors.
    Exits(ExitCounters),
    /// A patch whose module is loaded.
    Loaded(LoadedPatch),
    /// What LUCOS knows of the patch before it.
    Patch(PatchStatus),
    /// What the kernel may keep of the patch before it.
    Kept(PatchKeptRecord),
    /// A function of the patch before it.
    Function(LoadedFunction),
    /// What LUCOS knows of the function before it.
    Site(FunctionStatus),
    /// A piece of the log: its offset, and its text.
    Log(u64, &'a [u8]),
    /// Stops that were measured.
    Stops(MeasuredStops),
    /// How a load ended.
    Outcome(LoadOutcome),
    /// A processor that the kernel knows and LUCOS does not have.
    Outside(OutsideProcessor),
}

impl Item<'_> {
    /// The kind of its record.
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        match self {
            Self::Failure(_) => RecordKind::Failure,
            Self::Manager(_) => RecordKind::Manager,
            Self::System(_) => RecordKind::System,
            Self::Exits(_) => RecordKind::Exits,
            Self::Loaded(_) => RecordKind::Loaded,
            Self::Patch(_) => RecordKind::Patch,
            Self::Kept(_) => RecordKind::Kept,
            Self::Function(_) => RecordKind::Function,
            Self::Site(_) => RecordKind::Site,
            Self::Log(..) => RecordKind::Log,
            Self::Stops(_) => RecordKind::Stops,
            Self::Outcome(_) => RecordKind::Outcome,
            Self::Outside(_) => RecordKind::Outside,
        }
    }
}

/// Reads a reply. The iterator gives each record, and ends at the first fault.
///
/// # Errors
/// [`ReplyFault::Length`] and [`ReplyFault::Version`] of the whole reply.
pub fn read(bytes: &[u8]) -> Result<Items<'_>, ReplyFault> {
    let header = ReplyHeader::read(bytes).ok_or(ReplyFault::Length)?;
    if header.version != REPLY_VERSION {
        return Err(ReplyFault::Version(header.version));
    }
    if header.length != bytes.len() as u64 {
        return Err(ReplyFault::Length);
    }
    let rest = bytes.get(ReplyHeader::SIZE..).unwrap_or_default();
    Ok(Items { rest, left: header.records })
}

/// The records of a reply.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Items<'a> {
    fn take(&mut self) -> Result<Item<'a>, ReplyFault> {
        let header = RecordHeader::read(self.rest).ok_or(ReplyFault::Length)?;
        let kind = RecordKind::from_number(header.kind).ok_or(ReplyFault::Kind(header.kind))?;
        let size = usize::try_from(header.size).map_err(|_| ReplyFault::Length)?;
        let rest = self.rest.get(RecordHeader::SIZE..).unwrap_or_default();
        let (record, rest) = rest.split_at_checked(size).ok_or(ReplyFault::Length)?;
        self.rest = rest;
        item(kind, record)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, ReplyFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = match self.left {
            0 if self.rest.is_empty() => return None,
            0 => Err(ReplyFault::Length),
            _ => self.take(),
        };
        self.left = self.left.saturating_sub(1);
        if taken.is_err() {
            (self.rest, self.left) = (&[], 0);
        }
        Some(taken)
    }
}

fn item(kind: RecordKind, record: &[u8]) -> Result<Item<'_>, ReplyFault> {
    macro_rules! whole {
        ($type:ident) => {
            $type::read(record)
                .filter(|_| record.len() == $type::SIZE)
                .ok_or(ReplyFault::Size(kind))?
        };
    }
    let fields = Fields { kind };
    Ok(match kind {
        RecordKind::Failure => Item::Failure(fields.failure(whole!(Failure))?),
        RecordKind::Manager => Item::Manager(whole!(ManagerStatus)),
        RecordKind::System => Item::System(fields.system(whole!(SystemStatus))?),
        RecordKind::Exits => Item::Exits(fields.exits(whole!(ExitCounters))?),
        RecordKind::Loaded => Item::Loaded(fields.loaded(whole!(LoadedPatch))?),
        RecordKind::Patch => Item::Patch(fields.patch(whole!(PatchStatus))?),
        RecordKind::Kept => Item::Kept(fields.kept(whole!(PatchKeptRecord))?),
        RecordKind::Function => Item::Function(fields.function(whole!(LoadedFunction))?),
        RecordKind::Site => Item::Site(fields.site(whole!(FunctionStatus))?),
        RecordKind::Log => {
            let (offset, text) = fields.log(record)?;
            Item::Log(offset, text)
        }
        RecordKind::Stops => Item::Stops(whole!(MeasuredStops)),
        RecordKind::Outcome => Item::Outcome(fields.outcome(whole!(LoadOutcome))?),
        RecordKind::Outside => Item::Outside(fields.outside(whole!(OutsideProcessor))?),
    })
}

/// The checks of a record's fields.
struct Fields {
    kind: RecordKind,
}

impl Fields {
    fn must(&self, is_right: bool, field: &'static str) -> Result<(), ReplyFault> {
        if is_right { Ok(()) } else { Err(ReplyFault::Field(self.kind, field)) }
    }

    fn name(&self, bytes: &[u8; NAME_SIZE], field: &'static str) -> Result<(), ReplyFault> {
        self.must(name::parse(bytes).is_ok(), field)
    }

    fn text(&self, bytes: &[u8], field: &'static str) -> Result<(), ReplyFault> {
        self.must(name::text(bytes).is_some(), field)
    }

    fn failure(&self, record: Failure) -> Result<Failure, ReplyFault> {
        self.must(ErrorCode::from_number(record.code).is_some(), "code")?;
        self.must(record.reserved == 0, "reserved field")?;
        self.text(&record.subject, "subject")?;
        Ok(record)
    }

    fn system(&self, record: SystemStatus) -> Result<SystemStatus, ReplyFault> {
        self.must(record.version == STATUS_VERSION, "version")?;
        self.must(Extension::from_number(record.extension).is_some(), "extension")?;
        self.must(record.registered <= 1, "registered")?;
        self.must(record.reserved2 == 0, "reserved field")?;
        self.text(&record.release, "release")?;
        Ok(record)
    }

    fn exits(&self, record: ExitCounters) -> Result<ExitCounters, ReplyFault> {
        self.must(record.version == STATUS_VERSION, "version")?;
        let unused = record.counters.get(record.count as usize..);
        let are_zero = unused.is_some_and(|unused| unused.iter().all(|&counter| counter == 0));
        self.must(are_zero, "count")?;
        Ok(record)
    }

    fn loaded(&self, record: LoadedPatch) -> Result<LoadedPatch, ReplyFault> {
        self.must(LoadedState::from_number(record.state).is_some(), "state")?;
        self.must(record.overridden <= record.functions, "overridden")?;
        self.name(&record.name, "name")?;
        self.text(&record.module, "module")?;
        self.text(&record.description, "description")?;
        Ok(record)
    }

    fn patch(&self, record: PatchStatus) -> Result<PatchStatus, ReplyFault> {
        self.must(record.version == STATUS_VERSION, "version")?;
        self.must(PatchState::from_number(record.state).is_some(), "state")?;
        self.must(record.reserved == 0 && record.reserved2 == 0, "reserved field")?;
        self.name(&record.name, "name")?;
        Ok(record)
    }

    fn kept(&self, record: PatchKeptRecord) -> Result<PatchKeptRecord, ReplyFault> {
        self.text(&record.what, "what")?;
        self.text(&record.how, "how")?;
        Ok(record)
    }

    fn function(&self, record: LoadedFunction) -> Result<LoadedFunction, ReplyFault> {
        let is_reason = record.at_slot == 0 || ErrorCode::from_number(record.at_slot).is_some();
        self.must(is_reason, "at_slot")?;
        self.must(record.overridden <= 1, "overridden")?;
        self.text(&record.module, "module")?;
        Ok(record)
    }

    fn site(&self, record: FunctionStatus) -> Result<FunctionStatus, ReplyFault> {
        self.must(record.version == STATUS_VERSION, "version")?;
        self.must(SiteState::from_number(record.state).is_some(), "state")?;
        self.must(WindowReason::from_number(record.reason).is_some(), "reason")?;
        self.must(record.reserved == 0, "reserved field")?;
        self.name(&record.name, "name")?;
        Ok(record)
    }

    fn log<'a>(&self, record: &'a [u8]) -> Result<(u64, &'a [u8]), ReplyFault> {
        let piece = LogPiece::read(record).ok_or(ReplyFault::Size(self.kind))?;
        let rest = record.get(LogPiece::SIZE..).unwrap_or_default();
        let length = usize::try_from(piece.length).map_err(|_| ReplyFault::Size(self.kind))?;
        let (text, tail) = rest.split_at_checked(length).ok_or(ReplyFault::Size(self.kind))?;
        let is_filled_up = rest.len().is_multiple_of(8) && tail.len() < 8;
        if !is_filled_up || tail.iter().any(|&byte| byte != 0) {
            return Err(ReplyFault::Size(self.kind));
        }
        self.must(piece.offset.checked_add(piece.length).is_some(), "offset")?;
        Ok((piece.offset, text))
    }

    fn outside(&self, record: OutsideProcessor) -> Result<OutsideProcessor, ReplyFault> {
        self.must(record.reserved == 0, "reserved field")?;
        Ok(record)
    }

    fn outcome(&self, record: LoadOutcome) -> Result<LoadOutcome, ReplyFault> {
        self.must(Verdict::from_number(record.verdict).is_some(), "verdict")?;
        self.must(record.reserved == 0, "reserved field")?;
        Ok(record)
    }
}

/// Builds replies, for tests and for tools with an allocator.
#[cfg(any(test, feature = "std"))]
#[derive(Debug, Clone, Default)]
pub struct ReplyBuilder {
    records: u32,
    body: std::vec::Vec<u8>,
}

#[cfg(any(test, feature = "std"))]
impl ReplyBuilder {
    /// Appends a record.
    #[must_use]
    pub fn record(mut self, kind: RecordKind, bytes: &[u8]) -> Self {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let header = RecordHeader { kind: kind.number(), size };
        self.body.extend(header.to_bytes());
        self.body.extend(bytes);
        self.records += 1;
        self
    }

    /// Appends a piece of the log.
    #[must_use]
    pub fn log(self, offset: u64, text: &[u8]) -> Self {
        let piece = LogPiece { offset, length: text.len() as u64 };
        let mut bytes = piece.to_bytes().to_vec();
        bytes.extend(text);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        self.record(RecordKind::Log, &bytes)
    }

    /// The reply.
    #[must_use]
    pub fn build(self) -> std::vec::Vec<u8> {
        let header = ReplyHeader {
            version: REPLY_VERSION,
            records: self.records,
            length: (ReplyHeader::SIZE + self.body.len()) as u64,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(self.body);
        bytes
    }
}
