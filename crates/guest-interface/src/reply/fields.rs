//! The checks of the records' fields.

use super::records::{
    Event, Failure, Inside, LoadOutcome, LoadedFunction, LoadedPatch, LogPiece, ManagerStatus,
    MeasuredStops, OutsideProcessor, Probation, TwinCount,
};
use super::{EventKind, Item, LoadedState, RecordKind, ReplyFault, Verdict};
use crate::call::Cause;
use crate::error::ErrorCode;
use crate::name::{self, NAME_SIZE};
use crate::patch_module::PatchKeptRecord;
use crate::status::{
    ExitCounters, Extension, FunctionStatus, PatchState, PatchStatus, STATUS_VERSION, SiteState,
    SystemStatus, ValueState, ValueStatus, VersionState, VersionStatus, WindowReason,
};

pub(super) fn item(kind: RecordKind, record: &[u8]) -> Result<Item<'_>, ReplyFault> {
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
        RecordKind::Value => Item::Value(fields.value(whole!(ValueStatus))?),
        RecordKind::Event => Item::Event(fields.event(whole!(Event))?),
        RecordKind::Twins => Item::Twins(fields.twins(whole!(TwinCount))?),
        RecordKind::Version => Item::Version(fields.version(whole!(VersionStatus))?),
        RecordKind::Inside => Item::Inside(fields.inside(whole!(Inside))?),
        RecordKind::Probation => Item::Probation(fields.probation(whole!(Probation))?),
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
        self.must(record.reserved2 == 0, "reserved field")?;
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

    fn value(&self, record: ValueStatus) -> Result<ValueStatus, ReplyFault> {
        self.must(record.version == STATUS_VERSION, "version")?;
        self.must(ValueState::from_number(record.state).is_some(), "state")?;
        self.must((1..=record.mask.len()).contains(&(record.length as usize)), "length")?;
        self.name(&record.name, "name")?;
        Ok(record)
    }

    fn version(&self, record: VersionStatus) -> Result<VersionStatus, ReplyFault> {
        self.must(record.version == STATUS_VERSION, "version")?;
        self.must(VersionState::from_number(record.state).is_some(), "state")?;
        self.must(record.reserved == [0; 2], "reserved field")?;
        self.name(&record.name, "name")?;
        Ok(record)
    }

    fn event(&self, record: Event) -> Result<Event, ReplyFault> {
        let kind = EventKind::from_number(record.kind);
        let code_is_right = match kind {
            None => return Err(ReplyFault::Field(self.kind, "kind")),
            Some(EventKind::Applied | EventKind::RolledBack) => record.code == 0,
            Some(EventKind::Withdrawn) => Cause::from_number(record.code).is_some(),
            Some(EventKind::Refused | EventKind::NotRolledBack) => {
                ErrorCode::from_number(record.code).is_some()
            }
        };
        self.must(code_is_right, "code")?;
        self.must(record.reserved == 0, "reserved field")?;
        self.name(&record.name, "name")?;
        self.text(&record.subject, "subject")?;
        self.text(&record.program, "program")?;
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

    fn twins(&self, record: TwinCount) -> Result<TwinCount, ReplyFault> {
        self.text(&record.name, "name")?;
        Ok(record)
    }

    fn inside(&self, record: Inside) -> Result<Inside, ReplyFault> {
        self.must(record.reserved == 0, "reserved field")?;
        self.text(&record.name, "name")?;
        self.text(&record.place, "place")?;
        Ok(record)
    }

    fn probation(&self, record: Probation) -> Result<Probation, ReplyFault> {
        self.must(record.seconds != 0, "seconds")?;
        self.must(record.reserved == 0, "reserved field")?;
        Ok(record)
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
