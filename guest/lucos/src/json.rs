//! JSON for programs, made from the manager's answers.

use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::descriptor::{DATA_CLEAR_ONLY, DATA_LOSSY, DATA_PER_CPU};
use lucos_guest_interface::status::ExitClass;
use serde_json::{Map, Value, json};

use crate::answer::{self, Event, Function, Inside, Log, Patch, Shown, Status, Version};
use crate::enabled::Entry;
use crate::enabling::Standing;
use crate::render::{date, hexadecimal};

/// The state of LUCOS.
#[must_use]
pub fn status(status: &Status) -> Value {
    let system = &status.system;
    let mut exits = Map::new();
    if let Some(counters) = &status.exits {
        let used = counters.counters.iter().take(counters.count as usize);
        for (class, &count) in ExitClass::ALL.iter().zip(used) {
            exits.insert(class.c_name().to_owned(), count.into());
        }
    }
    json!({
        "interface": status.interface,
        "release": answer::text(&system.release),
        "extension": status.extension.c_name(),
        "assists": system.assists,
        "containment": system.containment,
        "vcpus": system.vcpus,
        "patches": system.patches,
        "applied": system.applied,
        "trapping": system.trapping,
        "jumping": system.jumping,
        "overridden": status.overridden,
        "patch_capacity": system.patch_capacity,
        "restarts": system.restarts,
        "region_start": system.region_start,
        "region_size": system.region_size,
        "stops": system.stops,
        "longest_stop_ticks": system.longest_stop,
        "last_stop_ticks": system.last_stop,
        "messages": system.messages,
        "hidden_writes": system.hidden_writes,
        "exits": exits,
        "outside": status.outside,
    })
}

/// The list of patches.
#[must_use]
pub fn list(patches: &[Patch]) -> Value {
    json!({ "patches": patches.iter().map(patch).collect::<Vec<_>>() })
}

/// An enabled patch, and how it stands.
#[must_use]
pub fn enabled(entry: &Entry, standing: &Standing) -> Value {
    let mut object = json!({
        "name": entry.name,
        "kernel": entry.kernel,
        "state": standing.word(),
        "file": entry.path,
    });
    if let Standing::Refused(error) = standing {
        object["error"] = error.to_json()["error"].take();
    }
    object
}

/// One patch with its functions.
#[must_use]
pub fn show(shown: &Shown) -> Value {
    let mut object = patch(&shown.patch);
    object["function"] = shown.functions.iter().map(function).collect();
    object["value"] = values(&shown.values);
    object["version"] = shown.versions.iter().map(version).collect();
    object
}

fn version(version: &Version) -> Value {
    let status = &version.status;
    json!({
        "name": version.name,
        "sides": version.state.c_name(),
        "object_size": status.object_size,
        "twin_size": status.twin_size,
        "pairs": status.pairs,
        "per_cpu": status.flags & DATA_PER_CPU != 0,
        "clear_only": status.flags & DATA_CLEAR_ONLY != 0,
        "lossy": status.flags & DATA_LOSSY != 0,
        "guarded_pages": status.guarded_pages,
        "traps": status.traps,
        "carried": status.carried,
        "neighbours": status.neighbours,
        "torn": status.torn,
    })
}

/// Values of a patch.
#[must_use]
pub fn values(values: &[answer::Value]) -> Value {
    let value = |value: &answer::Value| {
        json!({
            "name": value.name,
            "address": format!("{:#x}", value.status.address),
            "old": hexadecimal(value.old()),
            "new": hexadecimal(value.new_bytes()),
            "state": value.state.c_name(),
            "below": value.status.below,
        })
    };
    values.iter().map(value).collect()
}

/// The log of LUCOS, and what became of patches.
#[must_use]
pub fn log(log: &Log) -> Value {
    let event = |event: &Event| {
        json!({
            "time": date(event.seconds),
            "event": event.kind.c_name(),
            "name": event.name,
            "number": event.number,
            "code": event.code,
            "why": event.why,
            "program": event.program,
            "process": event.process,
            "user": event.user,
        })
    };
    let events: Vec<Value> = log.events.iter().map(event).collect();
    json!({ "log": crate::render::log(log), "events": events })
}

fn patch(patch: &Patch) -> Value {
    let kept = patch.kept.iter().map(|kept| json!({ "what": kept.what, "how": kept.how }));
    let twins = patch.twins.iter().map(|twins| json!({ "name": twins.name, "count": twins.count }));
    let mut object = json!({
        "name": patch.name,
        "description": patch.description,
        "module": patch.module,
        "state": patch.state.c_name().to_lowercase(),
        "number": patch.number,
        "functions": patch.functions,
        "overridden": patch.overridden,
        "kept": kept.collect::<Vec<_>>(),
        "twins": twins.collect::<Vec<_>>(),
        "probation": patch.probation,
        "inside": patch.inside.as_ref().map(inside),
    });
    if let Some(status) = &patch.status {
        object["values"] = status.values.into();
        object["data_versions"] = status.data_versions.into();
        object["trapping"] = status.trapping.into();
        object["jumping"] = status.jumping.into();
        object["apply_stop_ticks"] = status.apply_stop.into();
        object["jump_stop_ticks"] = status.jump_stop.into();
        object["rollback_stop_ticks"] = status.rollback_stop.into();
    }
    object
}

fn function(function: &Function) -> Value {
    let status = &function.status;
    json!({
        "name": function.name,
        "module": function.module,
        "old": format!("{:#x}", status.old_start),
        "site": format!("{:#x}", status.site),
        "new": format!("{:#x}", status.new_entry),
        "state": function.state.c_name(),
        "at_slot": function.at_slot.map_or("", ErrorCode::c_name),
        "reason": function.reason.c_name(),
        "trap_calls": status.trap_calls,
        "window": status.window,
        "below": status.below,
        "overridden": function.overridden,
        "inside": function.inside.as_ref().map(inside),
    })
}

fn inside(inside: &Inside) -> Value {
    json!({
        "thread": inside.thread,
        "name": inside.name,
        "place": inside.place,
        "seconds": inside.seconds,
    })
}
