//! What can be checked about a function before the guest is stopped.

use alloc::vec::Vec;

use lucos_abi::layout::PAGE;
use lucos_guest_interface::descriptor::Function;
use lucos_guest_interface::status::WindowReason;
use lucos_guest_interface::{ErrorCode, Part};
use lucos_transaction::journal::Registration;
use lucos_transaction::patch::{Code, Name};
use lucos_transaction::{Engine, FunctionPlan, SiteState, Store, Subject, SubjectError};
use lucos_x86_code::LONGEST_INSTRUCTION;
use lucos_x86_code::jump::{JumpError, TRAP, jump_bytes};
use lucos_x86_code::length::instruction_length;
use lucos_x86_code::window::{FUNCTION_MAX, TABLES_MAX, Window, WindowError, analyse};

use crate::buffer::zeroed;
use crate::guest::Guest;
use crate::platform::Platform;

/// Most bytes of code of all functions of an update together.
pub const CODE_MAX: usize = 1024 * 1024;

/// An ftrace slot that nobody uses: the five-byte `nop`.
const SLOT: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
/// An ENDBR64, and what the kernel makes of one that nothing may come to indirectly.
const ENDBRS: [[u8; 4]; 2] = [[0xf3, 0x0f, 0x1e, 0xfa], [0x66, 0x0f, 0x1f, 0x00]];
/// A breakpoint.
const INT3: u8 = 0xcc;
/// Entries of an address table that are looked at.
const TABLE_ENTRIES: usize = 512;

/// An error and its detail; the caller knows the function.
type Wrong = (ErrorCode, u64);

/// Checks the functions of one update.
#[derive(Debug)]
pub struct Checker {
    /// For the code of one function, or a page of a table. It grows with what is asked for: to fill
    /// room for the longest function with zeros takes longer than all other checks of a short one.
    code: Vec<u8>,
    /// Bytes that may still be read.
    budget: usize,
    /// Tables without an address of code, as the one of all processors' variables: of these nobody
    /// has to be asked again for another function.
    harmless: heapless::Vec<u64, TABLES_MAX>,
}

impl Checker {
    /// A checker for one update.
    ///
    /// # Errors
    /// `Internal` when there is no memory.
    pub fn new() -> Result<Self, lucos_guest_interface::Fault> {
        let harmless = heapless::Vec::new();
        Ok(Self { code: zeroed(PAGE as usize)?, budget: CODE_MAX, harmless })
    }

    /// Checks one function, and says what to write where. `pending` are the functions that come in
    /// the same step before it: their traps are taken to stand.
    ///
    /// # Errors
    /// With the detail in brackets:
    /// * `OldNotText` (its start), `NewNotText` (its start)
    /// * `Length` (its size): it is too long, or all functions together are
    /// * `Address`: not mapped
    /// * `SiteForeign` (where): somebody else changed the code at the site
    /// * `ExpectedBytes` (where)
    /// * `Decode` (where): old or new function
    /// * `SiteBoundary` (the site)
    /// * `NotAtEntry` (an instruction before the site): at the site it is no call any more
    /// * `BranchToSite` (the branch, or the table that holds the address)
    /// * `JumpRange` (the new function)
    pub fn check<S: Store, P: Platform>(
        &mut self,
        engine: &Engine<S>,
        guest: &mut Guest<'_, P>,
        pending: &[&FunctionPlan],
        function: &Function,
    ) -> Result<FunctionPlan, Wrong> {
        check_places(engine, function)?;
        let target = check_entry(guest, function.new_entry())?;
        let length = self.length(function)?;
        let code = self.code.get_mut(..length).unwrap_or_default();
        guest.read(function.old_start(), code).map_err(machine)?;
        for plan in pending {
            if let Some(byte) = place_of(plan, code, function).and_then(<[u8]>::first_mut) {
                *byte = TRAP;
            }
        }
        // What the guest has there in the stop.
        let live = at_site(code, function);
        take_redirections_off(engine, pending, code, function)?;
        check_expected(code, &live, function)?;
        check_site(code, function)?;
        let window = analyse(code, function.old_start(), site_offset(function))
            .map_err(|error| window_error(error, function))?;
        if let Some(address) = window.not_entry {
            return Err((ErrorCode::NotAtEntry, address));
        }
        let tables = self.tables(engine, guest, &window);
        check_branches(&window, &tables, function)?;
        plan(function, &window, &tables, live, target)
    }

    /// Makes room for the code of a function, and gives its length.
    fn length(&mut self, function: &Function) -> Result<usize, Wrong> {
        let size = function.record().old_size;
        let too_long = (ErrorCode::Length, size.into());
        let length = size as usize;
        if length > FUNCTION_MAX {
            return Err(too_long);
        }
        self.budget = self.budget.checked_sub(length).ok_or(too_long)?;
        if length > self.code.len() {
            self.code = zeroed(length.next_power_of_two()).map_err(|_| INTERNAL)?;
        }
        Ok(length)
    }

    /// What the tables of a function say.
    fn tables<S: Store, P: Platform>(
        &mut self,
        engine: &Engine<S>,
        guest: &mut Guest<'_, P>,
        window: &Window,
    ) -> Tables {
        let registration = &engine.head().registration;
        let mut found = Tables::default();
        for &table in &window.tables {
            if self.harmless.contains(&table) {
                continue;
            }
            let mut is_harmless = true;
            self.entries(guest, table, |address| {
                is_harmless &= !is_code(registration, address, address);
                found.note(window, table, address);
            });
            if is_harmless {
                // Without room for it, it is read again.
                let _ = self.harmless.push(table);
            }
        }
        found
    }

    /// Tables have no known length: entries are looked at until memory ends, at most
    /// [`TABLE_ENTRIES`].
    fn entries<P: Platform>(
        &mut self,
        guest: &mut Guest<'_, P>,
        table: u64,
        mut look: impl FnMut(u64),
    ) {
        let mut at = table;
        let mut left = TABLE_ENTRIES * 8;
        while left > 0 {
            // A page at a time, so that a table at the end of what is mapped is seen too.
            let page_rest = (PAGE - at % PAGE) as usize;
            // A table that is not aligned may have an entry across two pages.
            let part = left.min(page_rest.next_multiple_of(8));
            let part = self.code.get_mut(..part).unwrap_or_default();
            if guest.read(at, part).is_err() {
                break;
            }
            part.as_chunks::<8>().0.iter().for_each(|entry| look(u64::from_le_bytes(*entry)));
            at = at.wrapping_add(part.len() as u64);
            left -= part.len();
        }
    }
}

const fn machine(error: SubjectError) -> Wrong {
    let fault = error.fault(0);
    (fault.code, fault.detail)
}

/// What was checked before does not hold.
const INTERNAL: Wrong = (ErrorCode::Internal, Part::Liveupdate as u64);

const fn site_offset(function: &Function) -> usize {
    function.record().site_offset as usize
}

fn is_in(area: (u64, u64), start: u64, end: u64) -> bool {
    area.0 <= start && end <= area.1
}

/// Whether this is in text of the kernel or of a module.
fn is_code(registration: &Registration, start: u64, end: u64) -> bool {
    is_in(registration.text, start, end) || is_in(registration.modules, start, end)
}

/// Old functions lie in text of the kernel or of a module, new ones in a module.
fn check_places<S: Store>(engine: &Engine<S>, function: &Function) -> Result<(), Wrong> {
    let registration = &engine.head().registration;
    let (old, old_end) = (function.old_start(), function.old_end());
    if !is_code(registration, old, old_end) {
        return Err((ErrorCode::OldNotText, old));
    }
    let (new, new_end) = (function.new_entry(), function.new_end());
    if !is_in(registration.modules, new, new_end) {
        return Err((ErrorCode::NewNotText, new));
    }
    Ok(())
}

/// There is an instruction at the entry of the new function. Returns where a jump goes: behind an
/// ENDBR, which is there for indirect branches only.
fn check_entry<P: Platform>(guest: &mut Guest<'_, P>, entry: u64) -> Result<u64, Wrong> {
    let mut code = [0; LONGEST_INSTRUCTION];
    // Areas of modules end with the page; the instruction may be shorter than the longest.
    let page_rest = (PAGE - entry % PAGE) as usize;
    let first = code.get_mut(..page_rest.min(LONGEST_INSTRUCTION));
    let first = first.unwrap_or_default();
    guest.read(entry, first).map_err(machine)?;
    if let Some(endbr) = ENDBRS.iter().find(|endbr| first.starts_with(*endbr)) {
        return Ok(entry.saturating_add(endbr.len() as u64));
    }
    if instruction_length(first, 64).is_ok() {
        return Ok(entry);
    }
    guest.read(entry, &mut code).map_err(machine)?;
    match instruction_length(&code, 64) {
        Ok(_) => Ok(entry),
        Err(_) => Err((ErrorCode::Decode, entry)),
    }
}

/// The bytes at the site that a redirection can displace.
fn at_site(code: &[u8], function: &Function) -> Code {
    let rest = code.get(site_offset(function)..).unwrap_or_default();
    rest.iter().copied().take(lucos_transaction::patch::CODE_MAX).collect()
}

/// Puts the original bytes into the copy of a function that is redirected already, and makes sure
/// that exactly our redirection stands there.
fn take_redirections_off<S: Store>(
    engine: &Engine<S>,
    pending: &[&FunctionPlan],
    code: &mut [u8],
    function: &Function,
) -> Result<(), Wrong> {
    let in_memory = engine.patches().iter().rev().filter(|patch| patch.is_in_memory());
    let standing = in_memory.flat_map(|patch| &patch.functions);
    let standing = standing.map(|other| (&other.plan, other.state));
    let pending = pending.iter().rev().map(|plan| (*plan, SiteState::Trap));
    // The last one stands on the others, and what it found is what they left.
    for (plan, state) in pending.chain(standing) {
        let Some(place) = place_of(plan, code, function) else {
            continue;
        };
        let trap = [TRAP];
        let ours: &[u8] = match state {
            SiteState::Jump => &plan.jump,
            _ => &trap,
        };
        if !place.starts_with(ours) {
            return Err((ErrorCode::SiteForeign, plan.site));
        }
        for (byte, original) in place.iter_mut().zip(plan.found.iter().take(ours.len())) {
            *byte = *original;
        }
    }
    Ok(())
}

/// The code of a function from the site of `plan` on, if it is there.
fn place_of<'a>(
    plan: &FunctionPlan,
    code: &'a mut [u8],
    function: &Function,
) -> Option<&'a mut [u8]> {
    let offset = plan.site.checked_sub(function.old_start())?;
    let place = code.get_mut(usize::try_from(offset).ok()?..)?;
    (!place.is_empty()).then_some(place)
}

/// The bytes that the patch was made for: those of the kernel, or, where it is redirected, those
/// that stand there now.
fn check_expected(code: &[u8], live: &[u8], function: &Function) -> Result<(), Wrong> {
    let rest = code.get(site_offset(function)..).unwrap_or_default();
    let difference = |bytes: &[u8]| {
        let mut pairs = bytes.iter().zip(function.expected());
        pairs.position(|(byte, (expected, mask))| byte & mask != expected)
    };
    match difference(rest) {
        Some(offset) if difference(live).is_some() => {
            let address = function.site().saturating_add(offset as u64);
            Err((ErrorCode::ExpectedBytes, address))
        }
        _ => Ok(()),
    }
}

/// Nobody else has changed the first bytes of the site.
fn check_site(code: &[u8], function: &Function) -> Result<(), Wrong> {
    let rest = code.get(site_offset(function)..).unwrap_or_default();
    let taken = rest.first() == Some(&INT3);
    let slot_taken = function.site_is_slot() && !rest.starts_with(&SLOT);
    if taken || slot_taken {
        return Err((ErrorCode::SiteForeign, function.site()));
    }
    Ok(())
}

fn window_error(error: WindowError, function: &Function) -> Wrong {
    let at = |offset: usize| function.old_start().saturating_add(offset as u64);
    match error {
        WindowError::Length => (ErrorCode::Length, function.record().old_size.into()),
        WindowError::SiteOutside => (ErrorCode::SiteOffset, function.site()),
        WindowError::SiteNotABoundary => (ErrorCode::SiteBoundary, function.site()),
        WindowError::Undecodable { offset } => (ErrorCode::Decode, at(offset)),
        WindowError::Breakpoint { offset } => (ErrorCode::SiteForeign, at(offset)),
    }
}

/// What the address tables say through which a function may jump.
#[derive(Debug, Default)]
struct Tables {
    /// A table that holds the site's address.
    to_site: Option<u64>,
    /// A table that holds an address inside the window.
    inside: Option<u64>,
}

impl Tables {
    fn note(&mut self, window: &Window, table: u64, address: u64) {
        if address == window.site {
            self.to_site.get_or_insert(table);
        } else if window.is_inside(address) {
            self.inside.get_or_insert(table);
        }
    }
}

/// A branch back to the site would carry an old loop into the new function. Only the ftrace slot
/// can be the target of a branch: whoever goes there calls the function.
fn check_branches(window: &Window, tables: &Tables, function: &Function) -> Result<(), Wrong> {
    let branch = window.branch_to_site.map(|branch| branch.from);
    match branch.or(tables.to_site) {
        Some(from) if !function.site_is_slot() => Err((ErrorCode::BranchToSite, from)),
        _ => Ok(()),
    }
}

/// Why the window takes no jump.
fn reason(function: &Function, window: &Window, tables: &Tables) -> WindowReason {
    if function.reason() != WindowReason::None {
        return function.reason();
    }
    let Some(displaced) = window.displaced else {
        return WindowReason::TooShort;
    };
    let end = window.site.saturating_add(displaced.into());
    if window.breakpoint.is_some_and(|address| address < end) {
        return WindowReason::Kprobe;
    }
    if window.branch_inside.is_some() || tables.inside.is_some() {
        return WindowReason::Branch;
    }
    if window.unknown_jump.is_some() {
        return WindowReason::IndirectJump;
    }
    WindowReason::None
}

fn plan(
    function: &Function,
    window: &Window,
    tables: &Tables,
    live: Code,
    target: u64,
) -> Result<FunctionPlan, Wrong> {
    let reason = reason(function, window, tables);
    let jump = match (reason, window.displaced) {
        (WindowReason::None, Some(displaced)) => {
            let bytes = jump_bytes(function.site(), target, displaced);
            bytes.map_err(|error| match error {
                JumpError::OutOfRange => (ErrorCode::JumpRange, function.new_entry()),
                JumpError::Displaced => INTERNAL,
            })?
        }
        _ => Code::new(),
    };
    let mut found = live;
    // Without room for a jump only the trap's byte is ours.
    found.truncate(window.displaced.map_or(1, usize::from));
    Ok(FunctionPlan {
        name: Name::try_from(function.name()).map_err(|_| INTERNAL)?,
        old_start: function.old_start(),
        old_size: function.record().old_size,
        site: function.site(),
        new_entry: function.new_entry(),
        found,
        jump,
        reason: reason.number(),
        below: 0,
    })
}
