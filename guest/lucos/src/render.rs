//! Text for people, made from the manager's replies.

use std::fmt::Write as _;

use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::status::{
    ASSIST_CLEAN_BITS, ASSIST_DECODE, ASSIST_FLUSH_BY_ASID, ASSIST_NEXT_RIP, ASSIST_PAUSE_FILTER,
    ASSIST_VIRTUAL_NMI, CONTAINS_DMA, CONTAINS_INIT, ExitClass, WindowReason,
};
use serde_json::Value;

/// The list of patches as a table.
#[must_use]
pub fn list(reply: &Value) -> String {
    let mut rows =
        vec![["NAME", "STATE", "FUNCTIONS", "TRAPS", "JUMPS", "DESCRIPTION"].map(str::to_owned)];
    for patch in reply["patches"].as_array().into_iter().flatten() {
        rows.push([
            text(patch, "name"),
            state(patch),
            number(patch, "functions").to_string(),
            number(patch, "trapping").to_string(),
            number(patch, "jumping").to_string(),
            text(patch, "description"),
        ]);
    }
    if rows.len() == 1 {
        return "no patches are loaded\n".to_owned();
    }
    table(&rows)
}

/// A patch some of whose functions are led elsewhere is not in force as it looks.
fn state(patch: &Value) -> String {
    match number(patch, "overridden") {
        0 => text(patch, "state"),
        _ => "overridden".to_owned(),
    }
}

/// One patch with its functions.
#[must_use]
pub fn show(reply: &Value) -> String {
    let mut out = String::new();
    line(&mut out, "name", &text(reply, "name"));
    line(&mut out, "description", &text(reply, "description"));
    line(&mut out, "state", &state(reply));
    line(&mut out, "module", &text(reply, "module"));
    line(&mut out, "number", &number(reply, "number").to_string());
    for kept in reply["kept"].as_array().into_iter().flatten() {
        line(&mut out, "kernel keeps", &format!("{}: {}", text(kept, "what"), text(kept, "how")));
    }
    for function in reply["function"].as_array().into_iter().flatten() {
        out.push('\n');
        show_function(&mut out, function);
    }
    out
}

fn show_function(out: &mut String, function: &Value) {
    let module = text(function, "module");
    let place = if module.is_empty() { String::new() } else { format!(" [{module}]") };
    line(out, "function", &format!("{}{place}", text(function, "name")));
    line(out, "  old", &text(function, "old"));
    line(out, "  new", &text(function, "new"));
    let site = format!("{} {}", text(function, "site"), text(function, "state").to_lowercase());
    line(out, "  site", &site);
    if function["overridden"] == true {
        line(out, "  overridden", "by the kernel's own livepatch or tracer, which is asked first");
    }
    line(out, "  trap calls", &number(function, "trap_calls").to_string());
    let at_slot = text(function, "at_slot");
    if let Some(why) = ErrorCode::ALL.iter().find(|why| why.c_name() == at_slot) {
        line(out, "  at the slot", why.meaning());
    }
    let reason = text(function, "reason");
    let known = WindowReason::ALL.iter().find(|known| known.c_name() == reason);
    if let Some(known) = known.filter(|known| **known != WindowReason::None) {
        line(out, "  no jump", known.meaning());
    }
}

/// The state of LUCOS.
#[must_use]
pub fn status(reply: &Value) -> String {
    let mut out = String::new();
    line(&mut out, "LUCOS", &text(reply, "release"));
    line(&mut out, "interface", &number(reply, "interface").to_string());
    line(&mut out, "extension", &text(reply, "extension"));
    line(&mut out, "assists", &bits(number(reply, "assists"), ASSISTS));
    line(&mut out, "processors", &number(reply, "vcpus").to_string());
    for cpu in reply["outside"].as_array().into_iter().flatten() {
        line(&mut out, "outside", &format!("processor {cpu} was added later and is not LUCOS's"));
    }
    let patches = format!(
        "{} applied, {} remembered of at most {}",
        number(reply, "applied"),
        number(reply, "patches"),
        number(reply, "patch_capacity")
    );
    line(&mut out, "patches", &patches);
    let redirections =
        format!("{} traps, {} jumps", number(reply, "trapping"), number(reply, "jumping"));
    line(&mut out, "redirections", &redirections);
    let overridden = number(reply, "overridden");
    if overridden != 0 {
        let who = "by the kernel's own livepatch or tracer";
        line(&mut out, "overridden", &format!("{overridden} {who}"));
    }
    let stops = format!(
        "{}, the longest {} ticks",
        number(reply, "stops"),
        number(reply, "longest_stop_ticks")
    );
    line(&mut out, "stops", &stops);
    let region = format!(
        "{} KiB at {:#x}",
        number(reply, "region_size") / 1024,
        number(reply, "region_start")
    );
    line(&mut out, "memory", &region);
    line(&mut out, "hidden writes", &number(reply, "hidden_writes").to_string());
    line(&mut out, "task restarts", &number(reply, "restarts").to_string());
    line(&mut out, "INIT", contained(reply, CONTAINS_INIT));
    line(&mut out, "DMA", contained(reply, CONTAINS_DMA));
    for class in ExitClass::ALL {
        let count = number(&reply["exits"], class.c_name());
        if count != 0 {
            line(&mut out, "exits", &format!("{count} {}", class.meaning()));
        }
    }
    out
}

/// The log, with a line where bytes were lost.
#[must_use]
pub fn log(reply: &Value) -> String {
    let mut out = String::new();
    let mut next = None;
    for piece in reply["pieces"].as_array().into_iter().flatten() {
        let offset = number(piece, "offset");
        // Nothing is known about what stood before the first piece but its offset.
        let lost = offset - next.unwrap_or(0).min(offset);
        if lost != 0 {
            let _ = writeln!(out, "[{lost} bytes are lost]");
        }
        let text = text(piece, "text");
        next = Some(offset + text.chars().count() as u64);
        out.push_str(&text);
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

const ASSISTS: &[(u32, &str)] = &[
    (ASSIST_NEXT_RIP, "next RIP"),
    (ASSIST_FLUSH_BY_ASID, "flush by ASID"),
    (ASSIST_DECODE, "decode"),
    (ASSIST_CLEAN_BITS, "clean bits"),
    (ASSIST_VIRTUAL_NMI, "virtual NMI"),
    (ASSIST_PAUSE_FILTER, "pause filter"),
];

fn bits(value: u64, names: &[(u32, &str)]) -> String {
    let set: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| value & u64::from(*bit) != 0)
        .map(|(_, name)| *name)
        .collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}

fn contained(reply: &Value, bit: u32) -> &'static str {
    if number(reply, "containment") & u64::from(bit) != 0 {
        "contained"
    } else {
        "not contained on this machine"
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name:<14}{value}");
}

fn text(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or_default().to_owned()
}

fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or_default()
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
    use serde_json::json;

    use super::{list, log, show, status};

    #[test]
    fn the_list_is_a_table() {
        let reply = json!({ "patches": [
            { "name": "a", "state": "applied", "functions": 2, "trapping": 1, "jumping": 1, "description": "does it" },
            { "name": "longer", "state": "draining", "functions": 1, "description": "" },
        ]});
        assert_eq!(
            list(&reply),
            "NAME    STATE     FUNCTIONS  TRAPS  JUMPS  DESCRIPTION\n\
             a       applied   2          1      1      does it\n\
             longer  draining  1          0      0\n"
        );
        assert_eq!(list(&json!({ "patches": [] })), "no patches are loaded\n");
    }

    #[test]
    fn a_trap_that_stays_has_its_reason() {
        let reply = json!({ "name": "fix", "function": [
            { "name": "f", "module": "loop", "old": "0x1", "new": "0x2", "site": "0x3",
              "state": "TRAP", "at_slot": "", "reason": "JUMP_LABEL", "trap_calls": 7 },
        ]});
        let text = show(&reply);
        for part in ["f [loop]", "0x3 trap", "a jump label lies in the window", "trap calls  7"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("slot"), "{text}");
    }

    #[test]
    fn a_site_at_the_slot_has_its_reason() {
        let reply = json!({ "name": "fix", "function": [
            { "name": "f", "site": "0x3", "state": "JUMP", "at_slot": "BRANCH_TO_SITE" },
        ]});
        let text = show(&reply);
        let expected = "  at the slot the function branches back to the site\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_overrides_a_patch_is_shown() {
        let patch = json!({
            "name": "fix", "state": "applied", "functions": 1, "jumping": 1, "overridden": 1,
            "description": "",
            "function": [{ "name": "f", "site": "0x3", "state": "JUMP", "overridden": true }],
        });
        let text = list(&json!({ "patches": [patch] }));
        assert!(text.contains("fix   overridden  1          0      1\n"), "{text}");
        let text = show(&patch);
        for part in ["state         overridden\n", "  overridden  by the kernel's own livepatch"] {
            assert!(text.contains(part), "{text}");
        }
        let text = status(&json!({ "overridden": 2 }));
        assert!(text.contains("overridden    2 by the kernel's own livepatch"), "{text}");
    }

    #[test]
    fn the_status_says_what_is_contained() {
        let reply = json!({
            "release": "0.1.0", "containment": 1, "assists": 3, "exits": { "CPUID": 12 },
            "outside": [2, 5],
        });
        let text = status(&reply);
        for part in [
            "INIT          contained\n",
            "DMA           not contained",
            "next RIP, flush by ASID",
            "12 CPUID",
            "outside       processor 2 was added later and is not LUCOS's\n",
            "outside       processor 5 ",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!status(&json!({ "outside": [] })).contains("outside"));
    }

    #[test]
    fn gaps_in_the_log_are_shown() {
        let reply = json!({ "pieces": [
            { "offset": 10, "text": "one\n" }, { "offset": 14, "text": "two\n" },
            { "offset": 20, "text": "three" },
        ]});
        assert_eq!(log(&reply), "[10 bytes are lost]\none\ntwo\n[2 bytes are lost]\nthree\n");
        assert_eq!(log(&json!({ "pieces": [] })), "");
    }
}
