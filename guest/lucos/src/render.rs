//! Text for people, made from the manager's answers.

use std::fmt::Write as _;

use lucos_guest_interface::descriptor::{DATA_CLEAR_ONLY, DATA_LOSSY, DATA_PER_CPU};
use lucos_guest_interface::reply::MeasuredStops;
use lucos_guest_interface::status::{
    ASSIST_CLEAN_BITS, ASSIST_DECODE, ASSIST_FLUSH_BY_ASID, ASSIST_NEXT_RIP, ASSIST_PAUSE_FILTER,
    ASSIST_VIRTUAL_NMI, CONTAINS_DMA, CONTAINS_INIT, ExitClass, PatchStatus, WindowReason,
};

use crate::answer::{self, Function, Inside, Log, Patch, Piece, Shown, Status, Value, Version};

/// The list of patches as a table.
#[must_use]
pub fn list(patches: &[Patch]) -> String {
    if patches.is_empty() {
        return "no patches are loaded\n".to_owned();
    }
    let mut rows = vec![
        ["NAME", "STATE", "FUNCTIONS", "VALUES", "TRAPS", "JUMPS", "DESCRIPTION"]
            .map(str::to_owned),
    ];
    for patch in patches {
        let counts = |status: &PatchStatus| [status.values, status.trapping, status.jumping];
        let [values, traps, jumps] = patch.status.as_ref().map_or([0; 3], counts);
        rows.push([
            patch.name.clone(),
            state(patch),
            patch.functions.to_string(),
            values.to_string(),
            traps.to_string(),
            jumps.to_string(),
            patch.description.clone(),
        ]);
    }
    table(&rows)
}

/// A patch some of whose functions are led elsewhere is not in force as it looks.
fn state(patch: &Patch) -> String {
    let state = match patch.overridden {
        0 => patch.state.c_name().to_lowercase(),
        _ => "overridden".to_owned(),
    };
    match patch.probation {
        None => state,
        Some(seconds) => format!("{state}, on probation for {seconds} s"),
    }
}

/// One patch with its functions.
#[must_use]
pub fn show(shown: &Shown) -> String {
    let patch = &shown.patch;
    let mut out = String::new();
    line(&mut out, "name", &patch.name);
    line(&mut out, "description", &patch.description);
    line(&mut out, "state", &state(patch));
    line(&mut out, "module", &patch.module);
    line(&mut out, "number", &patch.number.to_string());
    for kept in &patch.kept {
        line(&mut out, "kernel keeps", &format!("{}: {}", kept.what, kept.how));
    }
    for twins in &patch.twins {
        line(&mut out, "twins", &format!("{}: {}", twins.name, twins.count));
    }
    if let Some(inside) = &patch.inside {
        line(&mut out, "inside", &who(inside));
    }
    for function in &shown.functions {
        out.push('\n');
        show_function(&mut out, function);
    }
    for value in &shown.values {
        out.push('\n');
        show_value(&mut out, value);
    }
    for version in &shown.versions {
        out.push('\n');
        show_version(&mut out, version);
    }
    out
}

fn show_version(out: &mut String, version: &Version) {
    let status = &version.status;
    line(out, "data version", &version.name);
    line(out, "  up to date", version.state.meaning());
    let sizes = format!("{} and {} bytes", status.object_size, status.twin_size);
    line(out, "  pairs", &format!("{} of {sizes}", status.pairs));
    let flags =
        [(DATA_PER_CPU, "per CPU"), (DATA_CLEAR_ONLY, "never both at once"), (DATA_LOSSY, "lossy")];
    if status.flags != 0 {
        line(out, "  is", &bits(status.flags, &flags));
    }
    if status.guarded_pages != 0 {
        line(out, "  guarded", &format!("{} pages", status.guarded_pages));
    }
    if status.traps != 0 {
        let (carried, neighbours) = (status.carried, status.neighbours);
        let kinds = format!("{carried} carried, {neighbours} beside it");
        line(out, "  writes", &format!("{} seen, {kinds}", status.traps));
    }
    if status.torn != 0 {
        line(out, "  torn", &format!("{} pairs lack a write on one side", status.torn));
    }
}

fn show_value(out: &mut String, value: &Value) {
    line(out, "value", &value.name);
    line(out, "  at", &format!("{:#x}", value.status.address));
    line(out, "  old", &hexadecimal(value.old()));
    line(out, "  new", &hexadecimal(value.new_bytes()));
    line(out, "  there", value.state.meaning());
}

/// Bytes in the order of memory.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}

/// Values that stay behind a rollback, one on each line.
#[must_use]
pub fn left(values: &[Value]) -> String {
    let line = |value: &Value| {
        let (name, address) = (&value.name, value.status.address);
        format!("{name} at {address:#x} stays as it is: somebody else has changed it\n")
    };
    values.iter().map(line).collect()
}

fn show_function(out: &mut String, function: &Function) {
    let (status, module) = (&function.status, &function.module);
    let place = if module.is_empty() { String::new() } else { format!(" [{module}]") };
    line(out, "function", &format!("{}{place}", function.name));
    line(out, "  old", &format!("{:#x}", status.old_start));
    line(out, "  new", &format!("{:#x}", status.new_entry));
    let site = format!("{:#x} {}", status.site, function.state.c_name().to_lowercase());
    line(out, "  site", &site);
    if function.overridden {
        line(out, "  overridden", "by the kernel's own livepatch or tracer, which is asked first");
    }
    line(out, "  trap calls", &status.trap_calls.to_string());
    if let Some(why) = function.at_slot {
        line(out, "  at the slot", why.meaning());
    }
    if function.reason != WindowReason::None {
        line(out, "  no jump", function.reason.meaning());
    }
    if let Some(inside) = &function.inside {
        line(out, "  inside", &who(inside));
    }
}

/// `NAME (THREAD) at PLACE, for SECONDS s`
pub(crate) fn who(inside: &Inside) -> String {
    let Inside { thread, name, place, seconds } = inside;
    let place = if place.is_empty() { "many places" } else { place };
    format!("{name} ({thread}) at {place}, for {seconds} s")
}

/// The state of LUCOS.
#[must_use]
pub fn status(status: &Status) -> String {
    let system = &status.system;
    let mut out = String::new();
    line(&mut out, "LUCOS", &answer::text(&system.release));
    line(&mut out, "interface", &status.interface.to_string());
    line(&mut out, "extension", status.extension.c_name());
    line(&mut out, "assists", &bits(system.assists, ASSISTS));
    line(&mut out, "processors", &system.vcpus.to_string());
    for cpu in &status.outside {
        line(&mut out, "outside", &format!("processor {cpu} was added later and is not LUCOS's"));
    }
    let patches = format!(
        "{} applied, {} remembered of at most {}",
        system.applied, system.patches, system.patch_capacity
    );
    line(&mut out, "patches", &patches);
    let redirections = format!("{} traps, {} jumps", system.trapping, system.jumping);
    line(&mut out, "redirections", &redirections);
    if status.overridden != 0 {
        let who = "by the kernel's own livepatch or tracer";
        line(&mut out, "overridden", &format!("{} {who}", status.overridden));
    }
    let stops = format!("{}, the longest {} ticks", system.stops, system.longest_stop);
    line(&mut out, "stops", &stops);
    let region = format!("{} KiB at {:#x}", system.region_size / 1024, system.region_start);
    line(&mut out, "memory", &region);
    line(&mut out, "hidden writes", &system.hidden_writes.to_string());
    line(&mut out, "task restarts", &system.restarts.to_string());
    line(&mut out, "INIT", contained(system.containment, CONTAINS_INIT));
    line(&mut out, "DMA", contained(system.containment, CONTAINS_DMA));
    let counters = status.exits.iter().flat_map(|exits| exits.counters);
    for (class, count) in ExitClass::ALL.iter().zip(counters) {
        if count != 0 {
            line(&mut out, "exits", &format!("{count} {}", class.meaning()));
        }
    }
    out
}

/// The log, with a line where bytes were lost, and what became of patches.
#[must_use]
pub fn log(log: &Log) -> String {
    let mut out = lines(&log.pieces);
    for event in &log.events {
        let (time, what) = (date(event.seconds), event.kind.c_name().to_lowercase());
        let _ = write!(out, "{time} {what} {}", event.name);
        if !event.why.is_empty() {
            let _ = write!(out, ": {}", event.why);
        }
        let who = match event.process {
            0 => "by the kernel".to_owned(),
            process => format!("by {} (process {process}, user {})", event.program, event.user),
        };
        let _ = writeln!(out, ", {who}");
    }
    out
}

/// A time in seconds since 1970 as a date, in UTC.
#[must_use]
pub fn date(seconds: u64) -> String {
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

fn lines(pieces: &[Piece]) -> String {
    let mut out = String::new();
    let mut next = 0;
    for piece in pieces {
        let lost = piece.offset.saturating_sub(next);
        if lost != 0 {
            let _ = writeln!(out, "[{lost} bytes are lost]");
        }
        next = piece.offset.saturating_add(piece.text.len() as u64);
        out.extend(piece.text.iter().map(|&byte| char::from(byte)));
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Stops that were measured.
#[must_use]
pub fn stops(stops: &MeasuredStops) -> String {
    format!("{} stops, the longest {} ticks\n", stops.stops, stops.longest)
}

const ASSISTS: &[(u32, &str)] = &[
    (ASSIST_NEXT_RIP, "next RIP"),
    (ASSIST_FLUSH_BY_ASID, "flush by ASID"),
    (ASSIST_DECODE, "decode"),
    (ASSIST_CLEAN_BITS, "clean bits"),
    (ASSIST_VIRTUAL_NMI, "virtual NMI"),
    (ASSIST_PAUSE_FILTER, "pause filter"),
];

fn bits(value: u32, names: &[(u32, &str)]) -> String {
    let set: Vec<&str> =
        names.iter().filter(|(bit, _)| value & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}

fn contained(containment: u32, bit: u32) -> &'static str {
    if containment & bit != 0 { "contained" } else { "not contained on this machine" }
}

fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name:<14}{value}");
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut out = String::new();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
    };
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(line, "{cell:<width$}  ", width = width(column));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use lucos_guest_interface::ErrorCode;
    use lucos_guest_interface::reply::{EventKind, LoadedState};
    use lucos_guest_interface::status::{SiteState, WindowReason};

    use super::{date, list, log, show, status};
    use crate::answer::tests::{function, patch, shown, some_status};
    use crate::answer::{Event, Inside, Log, Piece, Twins};

    #[test]
    fn the_list_is_a_table() {
        let mut first = patch("a", 1);
        first.functions = 2;
        first.description = "does it".to_owned();
        let status = first.status.as_mut().unwrap();
        (status.trapping, status.jumping) = (1, 1);
        let mut second = patch("longer", 2);
        second.state = LoadedState::Draining;
        second.status = None;
        assert_eq!(
            list(&[first, second]),
            "NAME    STATE     FUNCTIONS  VALUES  TRAPS  JUMPS  DESCRIPTION\n\
             a       applied   2          0       1      1      does it\n\
             longer  draining  1          0       0      0\n"
        );
        assert_eq!(list(&[]), "no patches are loaded\n");
    }

    #[test]
    fn probation_is_shown() {
        let mut shown = shown(function("f"));
        shown.patch.probation = Some(17);
        let expected = "applied, on probation for 17 s";
        assert!(show(&shown).contains(&format!("state         {expected}\n")));
        assert!(list(&[shown.patch]).contains(&format!("fix   {expected}  1 ")));
    }

    #[test]
    fn a_trap_that_stays_has_its_reason() {
        let mut function = function("f");
        function.module = "loop".to_owned();
        function.state = SiteState::Trap;
        function.reason = WindowReason::JumpLabel;
        (function.status.site, function.status.trap_calls) = (3, 7);
        let text = show(&shown(function));
        for part in ["f [loop]", "0x3 trap", "a jump label lies in the window", "trap calls  7"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("slot"), "{text}");
    }

    #[test]
    fn a_site_at_the_slot_has_its_reason() {
        let mut function = function("f");
        function.at_slot = Some(ErrorCode::BranchToSite);
        let text = show(&shown(function));
        let expected = "  at the slot the function branches back to the site\n";
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("no jump"), "{text}");
    }

    #[test]
    fn who_is_inside_is_shown() {
        let inside = |place: &str| {
            let (name, place) = ("cat".to_owned(), place.to_owned());
            Some(Inside { thread: 71, name, place, seconds: 3 })
        };
        let mut function = function("f");
        function.inside = inside("f+0x3/0x40");
        let mut shown = shown(function);
        shown.patch.inside = inside("");
        shown.patch.twins = vec![Twins { name: "state_of".to_owned(), count: 2 }];
        let text = show(&shown);
        for part in [
            "twins         state_of: 2\n",
            "inside        cat (71) at many places, for 3 s\n",
            "  inside      cat (71) at f+0x3/0x40, for 3 s\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn what_overrides_a_patch_is_shown() {
        let mut overridden = function("f");
        overridden.overridden = true;
        let mut shown = shown(overridden);
        shown.patch.overridden = 1;
        let text = list(std::slice::from_ref(&shown.patch));
        assert!(text.contains("fix   overridden  1          0       0      1\n"), "{text}");
        let text = show(&shown);
        for part in ["state         overridden\n", "  overridden  by the kernel's own livepatch"] {
            assert!(text.contains(part), "{text}");
        }
        let mut some = some_status();
        some.overridden = 2;
        let text = status(&some);
        assert!(text.contains("overridden    2 by the kernel's own livepatch"), "{text}");
    }

    #[test]
    fn the_status_says_what_is_contained() {
        let mut some = some_status();
        assert!(!status(&some).contains("outside"));
        some.outside = vec![2, 5];
        let text = status(&some);
        for part in [
            "LUCOS         0.1.0\n",
            "INIT          contained\n",
            "DMA           not contained",
            "next RIP, flush by ASID",
            "exits         12 CPUID\n",
            "outside       processor 2 was added later and is not LUCOS's\n",
            "outside       processor 5 ",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn gaps_in_the_log_are_shown() {
        let piece = |offset, text: &str| Piece { offset, text: text.into() };
        let pieces = [piece(10, "one\n"), piece(14, "two\n"), piece(20, "three")];
        let text = |pieces: &[Piece]| log(&Log { pieces: pieces.to_vec(), events: Vec::new() });
        assert_eq!(text(&pieces), "[10 bytes are lost]\none\ntwo\n[2 bytes are lost]\nthree\n");
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn what_became_of_patches_has_a_date_and_somebody() {
        let event = Event {
            seconds: 1_709_210_096,
            kind: EventKind::Refused,
            name: "fix".to_owned(),
            number: 0,
            why: "f: a function does not have the expected bytes (0x10)".to_owned(),
            code: "EXPECTED_BYTES".to_owned(),
            program: "lucos".to_owned(),
            process: 71,
            user: 0,
        };
        let kernel =
            Event { kind: EventKind::RolledBack, why: String::new(), process: 0, ..event.clone() };
        assert_eq!(
            log(&Log { pieces: Vec::new(), events: vec![event, kernel] }),
            "2024-02-29T12:34:56Z refused fix: f: a function does not have the expected bytes \
             (0x10), by lucos (process 71, user 0)\n\
             2024-02-29T12:34:56Z rolled_back fix, by the kernel\n"
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
