//! What the update manager answers to a command that is written to `/dev/lucos`.
//!
//! A reply is a [`ReplyHeader`] and so many records, each behind a [`RecordHeader`]. Records of
//! LUCOS itself are handed on as LUCOS filled them. A command that failed is answered with one
//! [`Failure`]; one that did something and has nothing to tell, with no record.
//!
//! Every byte is checked: an [`Item`] holds what its record promises.

#[cfg(any(test, feature = "std"))]
mod builder;
mod fields;
mod records;

use crate::patch_module::PatchKeptRecord;
use crate::status::{
    ExitCounters, FunctionStatus, PatchStatus, SystemStatus, ValueStatus, VersionStatus,
};

#[cfg(any(test, feature = "std"))]
pub use builder::ReplyBuilder;
pub use records::{
    Event, Failure, Inside, LoadOutcome, LoadedFunction, LoadedPatch, LogPiece, ManagerStatus,
    MeasuredStops, OutsideProcessor, Probation, RecordHeader, ReplyHeader, TwinCount,
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
        Value = 14, "VALUE", "what LUCOS knows of a value of the patch before it: a ValueStatus";
        Event = 15, "EVENT", "something that became of a patch: an Event";
        Twins = 16, "TWINS", "how many twins of a kind the patch before it has: a TwinCount";
        Inside = 17, "INSIDE", "who stands in the way of the function or patch before it: an Inside";
        Probation = 18, "PROBATION", "the patch before it is on probation: a Probation";
        Version = 19, "VERSION", "what LUCOS knows of a data version of the patch before it: a VersionStatus";
    }
}

listing! {
    /// What is true of a patch whose module is loaded.
    pub enum LoadedState {
        Applied = 1, "APPLIED", "the new functions are in force";
        Draining = 2, "DRAINING", "rolled back, its code may be in use";
        Unused = 3, "UNUSED", "rolled back, nobody is in its code";
        Kept = 4, "KEPT", "rolled back, the kernel may use its memory";
        Loaded = 5, "LOADED", "loaded, not yet in force";
        Settling = 6, "SETTLING", "in force, old code may still run and its data is guarded";
    }
}

impl LoadedState {
    /// Whether calls of the old functions lead to the new ones.
    #[must_use]
    pub const fn is_in_force(self) -> bool {
        matches!(self, Self::Applied | Self::Settling)
    }
}

listing! {
    /// How the load of a patch module ended.
    pub enum Verdict {
        None = 0, "NONE", "the manager saw no load of this module";
        Applied = 1, "APPLIED", "the patch is in force";
        Checked = 2, "CHECKED", "nothing is wrong with the patch, and nothing was applied";
        Refused = 3, "REFUSED", "the patch was refused";
        Loaded = 4, "LOADED", "the patch is loaded, to be applied in one step with others";
    }
}

listing! {
    /// What became of a patch.
    pub enum EventKind {
        Applied = 1, "APPLIED", "it came into force";
        RolledBack = 2, "ROLLED_BACK", "it was taken out of force";
        Refused = 3, "REFUSED", "it was to come into force and did not";
        NotRolledBack = 4, "NOT_ROLLED_BACK", "it was to be taken out of force and was not";
        Withdrawn = 5, "WITHDRAWN", "LUCOS took it out of force";
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
    /// A value of the patch before it.
    Value(ValueStatus),
    /// Something that became of a patch.
    Event(Event),
    /// How many twins of a kind the patch before it has.
    Twins(TwinCount),
    /// Who stands in the way of the function or patch before it.
    Inside(Inside),
    /// The patch before it is on probation.
    Probation(Probation),
    /// A data version of the patch before it.
    Version(VersionStatus),
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
            Self::Value(_) => RecordKind::Value,
            Self::Event(_) => RecordKind::Event,
            Self::Twins(_) => RecordKind::Twins,
            Self::Inside(_) => RecordKind::Inside,
            Self::Probation(_) => RecordKind::Probation,
            Self::Version(_) => RecordKind::Version,
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
        fields::item(kind, record)
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
