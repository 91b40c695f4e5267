//! QUERY.

use alloc::vec::Vec;

use lucos_abi::boot::MAX_CPUS;
use lucos_abi::object::Counter;
use lucos_data_versions::{VersionId, VersionState};
use lucos_guest_interface::call::{
    ALL_PROCESSORS, DATA_ITEMS, MAX_BUFFER_LENGTH, NO_ITEM, QueryKind, VALUE_ITEMS,
};
use lucos_guest_interface::descriptor::JUMP_SIZE;
use lucos_guest_interface::name::{self, NAME_SIZE};
use lucos_guest_interface::status::{
    EXIT_COUNTERS, ExitClass, ExitCounters, FunctionStatus, JumpStatus, MAX_PROCESSORS,
    PatchState as Shown, PatchStatus, ProcessorList, STATUS_VERSION, SiteState as Site,
    SystemStatus, ValueState as ShownValue, ValueStatus, VersionState as ShownVersion,
    VersionStatus, WindowReason,
};
use lucos_guest_interface::{ErrorCode, Fault};
use lucos_transaction::journal::Presence;
use lucos_transaction::patch::Function;
use lucos_transaction::{
    Engine, Patch, PatchState, SiteState, Store, Subject, SubjectError, Value, ValueState,
};
use lucos_x86_code::jump::TRAP;

use crate::answer::{Answer, Arguments};
use crate::buffer::copy_out;
use crate::guest::{Guest, Stops, subject_error};
use crate::platform::Platform;

/// What has happened since the machine booted, over all processors.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Stops since the task started.
    pub stops: Stops,
    /// Calls that came by way of a trap.
    pub redirections: u64,
}

/// Writes a status record into a buffer of the guest.
///
/// # Errors
/// `Argument` for an unknown kind or selector, `UnknownPatch`, `UnknownFunction`, `Length` when
/// the buffer is too small (detail: the size of the record) or too large, `Unsupported` for the
/// counters of one processor, `Address`.
pub fn query<S: Store, P: Platform>(
    totals: Totals,
    engine: &Engine<S>,
    guest: &mut Guest<'_, P>,
    [kind, selector, address, length]: Arguments,
) -> Result<Answer, Fault> {
    let unknown = Fault::new(ErrorCode::Argument, kind);
    let kind = u32::try_from(kind).ok().and_then(QueryKind::from_number).ok_or(unknown)?;
    let record = match kind {
        QueryKind::System => system(totals, engine, guest, selector)?,
        QueryKind::Patch => patch_status(engine, patch_at(engine, selector)?).to_bytes().to_vec(),
        QueryKind::Function => function(engine, guest, selector)?,
        QueryKind::ExitCounters => counters(totals, guest, selector)?,
        QueryKind::Jumps => jumps(engine, selector)?,
        QueryKind::Value => value(engine, guest, selector)?,
        QueryKind::Version => version(engine, guest, selector)?,
        QueryKind::Processors => processors(guest.platform().facts().apic_ids, selector)?,
    };
    if length < record.len() as u64 {
        return Err(Fault::new(ErrorCode::Length, record.len() as u64));
    }
    if length > MAX_BUFFER_LENGTH as u64 {
        return Err(Fault::new(ErrorCode::Length, length));
    }
    let space = guest.space();
    copy_out(guest.platform(), space, address, &record)?;
    Ok(Answer { rax: record.len() as u64, ..Answer::default() })
}

fn system<S: Store, P: Platform>(
    totals: Totals,
    engine: &Engine<S>,
    guest: &mut Guest<'_, P>,
    selector: u64,
) -> Result<Vec<u8>, Fault> {
    if selector != 0 {
        return Err(Fault::new(ErrorCode::Argument, selector));
    }
    let platform = guest.platform();
    let facts = platform.facts();
    let [log_start, log_end] = [0, u64::MAX].map(|offset| platform.read_log(offset, &mut []).0);
    let failed = |error: SubjectError| error.fault(NO_ITEM);
    let hidden_writes =
        platform.hidden_accesses().map_err(|failure| failed(subject_error(failure, 0)))?;
    let counts = platform.counters().map_err(failed)?;
    let count = |counter: Counter| counts.get(counter as usize).copied().unwrap_or(0);
    let head = engine.head();
    let applied = || engine.patches().iter().filter(|patch| is_applied(patch));
    let sum = |count: fn(&Engine<S>, &Patch) -> u32| {
        applied().map(|patch| count(engine, patch)).fold(0, u32::saturating_add)
    };
    let known = matches!(head.presence, Presence::Manager | Presence::Kernel);
    let status = SystemStatus {
        version: STATUS_VERSION,
        extension: facts.extension,
        assists: facts.assists,
        containment: facts.containment,
        vcpus: facts.processors(),
        registered: u32::from(head.presence == Presence::Manager),
        patches: number(engine.patches().len()),
        applied: number(applied().count()),
        trapping: sum(trapping),
        jumping: sum(jumping),
        patch_capacity: number(engine.capacity()),
        restarts: u32::try_from(count(Counter::Restarts)).unwrap_or(u32::MAX),
        region_start: facts.region.start,
        region_size: facts.region.length,
        stops: totals.stops.count,
        longest_stop: totals.stops.longest,
        hidden_writes,
        log_start,
        log_end,
        boot_identity: match known {
            true => head.registration.boot_identity,
            false => [0; 16],
        },
        release: release(),
        messages: count(Counter::Messages),
        last_stop: totals.stops.last,
        ..SystemStatus::default()
    };
    Ok(status.to_bytes().to_vec())
}

/// The version as NUL-terminated text.
fn release() -> [u8; NAME_SIZE] {
    name::field(env!("CARGO_PKG_VERSION")).unwrap_or([0; NAME_SIZE])
}

fn patch_at<S: Store>(engine: &Engine<S>, position: u64) -> Result<&Patch, Fault> {
    let patch = usize::try_from(position).ok().and_then(|position| engine.patches().get(position));
    patch.ok_or(Fault::new(ErrorCode::UnknownPatch, position))
}

fn patch_status<S: Store>(engine: &Engine<S>, patch: &Patch) -> PatchStatus {
    let state = match patch.state {
        PatchState::RolledBack => Shown::RolledBack,
        _ => Shown::Applied,
    };
    PatchStatus {
        version: STATUS_VERSION,
        number: patch.number,
        state: state.number(),
        functions: number(patch.functions.len()),
        data_versions: number(patch.versions.len()),
        values: number(patch.values.len()),
        trapping: trapping(engine, patch),
        jumping: jumping(engine, patch),
        apply_stop: patch.times.apply,
        jump_stop: patch.times.jump,
        rollback_stop: patch.times.rollback,
        sequence: patch.times.sequence,
        name: field(&patch.name),
        ..PatchStatus::default()
    }
}

fn function<S: Store, P: Platform>(
    engine: &Engine<S>,
    guest: &mut Guest<'_, P>,
    selector: u64,
) -> Result<Vec<u8>, Fault> {
    let patch = patch_at(engine, selector >> 32)?;
    // The lower half.
    let index = selector as u32;
    let unknown = Fault::at(ErrorCode::UnknownFunction, index, 0);
    let function = patch.functions.get(index as usize).ok_or(unknown)?;
    let plan = &function.plan;
    let reason = match function.state {
        SiteState::Trap | SiteState::Jumping => plan.reason(),
        SiteState::Original | SiteState::Jump => WindowReason::None,
    };
    let window = match plan.found.len() as u64 >= JUMP_SIZE {
        true => number(plan.found.len()),
        false => 0,
    };
    let status = FunctionStatus {
        version: STATUS_VERSION,
        state: place(engine, guest, patch, function).number(),
        reason: reason.number(),
        old_size: plan.old_size,
        old_start: plan.old_start,
        site: plan.site,
        new_entry: plan.new_entry,
        trap_calls: guest.calls(function.slot),
        window,
        below: plan.below,
        name: field(&plan.name),
        ..FunctionStatus::default()
    };
    Ok(status.to_bytes().to_vec())
}

/// What stands at the site of a function now.
fn place<S: Store, P: Platform>(
    engine: &Engine<S>,
    guest: &mut Guest<'_, P>,
    patch: &Patch,
    function: &Function,
) -> Site {
    if !is_applied(patch) {
        return Site::Original;
    }
    let plan = &function.plan;
    if engine.covered_by(patch.number, plan.site).is_some() {
        return Site::Covered;
    }
    let trap = [TRAP];
    let (ours, place): (&[u8], _) = match function.state {
        SiteState::Jump => (&plan.jump, Site::Jump),
        _ => (&trap, Site::Trap),
    };
    let mut now = [0; lucos_transaction::patch::CODE_MAX];
    let now = now.get_mut(..ours.len()).unwrap_or_default();
    match guest.read(plan.site, now) {
        Ok(()) if now == ours => place,
        _ => Site::Overridden,
    }
}

fn value<S: Store, P: Platform>(
    engine: &Engine<S>,
    guest: &mut Guest<'_, P>,
    selector: u64,
) -> Result<Vec<u8>, Fault> {
    let patch = patch_at(engine, selector >> 32)?;
    // The lower half.
    let index = selector as u32;
    let unknown = Fault::at(ErrorCode::Argument, VALUE_ITEMS.saturating_add(index), selector);
    let value = patch.values.get(index as usize).ok_or(unknown)?;
    let plan = &value.plan;
    let mut status = ValueStatus {
        version: STATUS_VERSION,
        state: value_state(engine, guest, patch, value).number(),
        address: plan.address,
        length: number(plan.mask.len()),
        below: plan.below,
        name: field(&plan.name),
        ..ValueStatus::default()
    };
    for (place, bytes) in
        [(&mut status.old, &plan.old), (&mut status.new, &plan.new), (&mut status.mask, &plan.mask)]
    {
        for (byte, given) in place.iter_mut().zip(bytes) {
            *byte = *given;
        }
    }
    Ok(status.to_bytes().to_vec())
}

/// What is at a value now.
fn value_state<S: Store, P: Platform>(
    engine: &Engine<S>,
    guest: &mut Guest<'_, P>,
    patch: &Patch,
    value: &Value,
) -> ShownValue {
    let plan = &value.plan;
    match (is_applied(patch), value.state) {
        (_, ValueState::LeftAlone) => return ShownValue::LeftAlone,
        (false, ValueState::Overwritten) => return ShownValue::Overwritten,
        (false, _) => return ShownValue::Original,
        (true, _) => {}
    }
    if engine.value_covered_by(patch.number, plan).is_some() {
        return ShownValue::Covered;
    }
    let mut now = plan.mask.clone();
    match guest.read(plan.address, &mut now) {
        Ok(()) if plan.holds(&now, &plan.new) => ShownValue::Changed,
        _ => ShownValue::Overwritten,
    }
}

fn version<S: Store, P: Platform>(
    engine: &Engine<S>,
    guest: &mut Guest<'_, P>,
    selector: u64,
) -> Result<Vec<u8>, Fault> {
    let patch = patch_at(engine, selector >> 32)?;
    // The lower half.
    let index = selector as u32;
    let unknown = Fault::at(ErrorCode::Argument, DATA_ITEMS.saturating_add(index), selector);
    let version = patch.versions.get(index as usize).ok_or(unknown)?;
    let (kind, lists) = (&version.plan.kind, &version.plan.lists);
    let state = match version.state(patch.state) {
        VersionState::Old => ShownVersion::Old,
        VersionState::Both => ShownVersion::Both,
        VersionState::New => ShownVersion::New,
    };
    let both = state == ShownVersion::Both;
    let id = VersionId { patch: patch.number, version: index };
    let (counts, pages, late) = guest.guards_of(id);
    let status = VersionStatus {
        version: STATUS_VERSION,
        state: state.number(),
        object_size: kind.object_size,
        twin_size: kind.twin_size,
        pairs: if both { lists.pairs.saturating_add_signed(late) } else { lists.pairs },
        guarded_pages: number(pages),
        torn: counts.torn,
        flags: kind.flags,
        traps: counts.traps,
        carried: counts.carried,
        neighbours: counts.neighbours,
        name: field(&kind.name),
        ..VersionStatus::default()
    };
    Ok(status.to_bytes().to_vec())
}

/// How much of the guest's code the jumps of a patch replace.
fn jumps<S: Store>(engine: &Engine<S>, number: u64) -> Result<Vec<u8>, Fault> {
    let mut patches = engine.patches().iter();
    let patch = patches.find(|patch| u64::from(patch.number) == number);
    let patch = patch.ok_or(Fault::new(ErrorCode::UnknownPatch, number))?;
    let mut status = JumpStatus {
        version: STATUS_VERSION,
        functions: self::number(patch.functions.len()),
        ..JumpStatus::default()
    };
    for (window, function) in status.windows.iter_mut().zip(&patch.functions) {
        if has_jump(engine, patch, function) {
            *window = function.plan.jump.len() as u8;
        }
    }
    Ok(status.to_bytes().to_vec())
}

fn counters<P: Platform>(
    totals: Totals,
    guest: &mut Guest<'_, P>,
    selector: u64,
) -> Result<Vec<u8>, Fault> {
    let facts = guest.platform().facts();
    if selector != ALL_PROCESSORS.into() {
        // The kernel counts for each processor, but gives the sum.
        let code = match selector < facts.processors().into() {
            true => ErrorCode::Unsupported,
            false => ErrorCode::Argument,
        };
        return Err(Fault::new(code, selector));
    }
    let counts = guest.platform().counters().map_err(|error| error.fault(NO_ITEM))?;
    let of = |counter: Counter| counts.get(counter as usize).copied().unwrap_or(0);
    let mut counters = [0; EXIT_COUNTERS];
    let shown = [
        (ExitClass::Cpuid, of(Counter::Cpuid)),
        (ExitClass::Hypercall, of(Counter::Hypercall)),
        (ExitClass::MsrRead, of(Counter::ReadMsr)),
        (ExitClass::MsrWrite, of(Counter::WriteMsr)),
        (ExitClass::Virtualization, of(Counter::Virtualization)),
        (ExitClass::Nmi, of(Counter::Kick).wrapping_add(of(Counter::GuestNmi))),
        (ExitClass::NestedPageFault, of(Counter::NestedFault)),
        (ExitClass::Redirection, totals.redirections),
        (ExitClass::InvalidOpcode, of(Counter::InvalidOpcode).saturating_sub(totals.redirections)),
        (ExitClass::Debug, of(Counter::Debug)),
        (ExitClass::Init, of(Counter::Init)),
        (ExitClass::Shutdown, of(Counter::Shutdown)),
        (ExitClass::Iret, of(Counter::Iret)),
        (ExitClass::Other, of(Counter::Other)),
    ];
    for (class, count) in shown {
        if let Some(place) = counters.get_mut(class.number() as usize) {
            *place = count;
        }
    }
    let record = ExitCounters {
        version: STATUS_VERSION,
        count: number(ExitClass::ALL.len()),
        tsc: guest.platform().time(),
        counters,
    };
    Ok(record.to_bytes().to_vec())
}

fn processors(apic_ids: &[u32], selector: u64) -> Result<Vec<u8>, Fault> {
    if selector != 0 {
        return Err(Fault::new(ErrorCode::Argument, selector));
    }
    let mut list = ProcessorList {
        version: STATUS_VERSION,
        count: number(apic_ids.len()),
        ..ProcessorList::default()
    };
    for (place, apic_id) in list.apic_ids.iter_mut().zip(apic_ids) {
        *place = *apic_id;
    }
    Ok(list.to_bytes().to_vec())
}

const _: () = assert!(MAX_CPUS == MAX_PROCESSORS);

const fn is_applied(patch: &Patch) -> bool {
    matches!(patch.state, PatchState::Applied)
}

/// Functions of a patch whose trap stands in memory.
fn trapping<S: Store>(engine: &Engine<S>, patch: &Patch) -> u32 {
    count(patch, |function| {
        function.state != SiteState::Jump
            && engine.covered_by(patch.number, function.plan.site).is_none()
    })
}

/// Functions of a patch whose jump stands in memory.
fn jumping<S: Store>(engine: &Engine<S>, patch: &Patch) -> u32 {
    number(patch.functions.iter().filter(|function| has_jump(engine, patch, function)).count())
}

/// Whether the jump of a function stands in memory.
fn has_jump<S: Store>(engine: &Engine<S>, patch: &Patch, function: &Function) -> bool {
    is_applied(patch)
        && function.state == SiteState::Jump
        && engine.covered_by(patch.number, function.plan.site).is_none()
}

fn count(patch: &Patch, counts: impl Fn(&Function) -> bool) -> u32 {
    if !is_applied(patch) {
        return 0;
    }
    number(patch.functions.iter().filter(|function| counts(function)).count())
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A name that was a field once.
fn field(text: &str) -> [u8; NAME_SIZE] {
    name::field(text).unwrap_or([0; NAME_SIZE])
}
