//! Replies to each command, and what is understood of them.

use lucos_guest_interface::descriptor::DATA_PER_CPU;
use lucos_guest_interface::reply::{
    LoadOutcome, LoadedFunction, LoadedPatch, ManagerStatus, RecordKind, ReplyBuilder, Verdict,
};
use lucos_guest_interface::status::{
    ASSIST_FLUSH_BY_ASID, ASSIST_NEXT_RIP, CONTAINS_INIT, PatchState, STATUS_VERSION,
};

use super::*;

fn field<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

fn loaded(name: &str, number: u32) -> Vec<u8> {
    let record = LoadedPatch {
        state: LoadedState::Applied.number(),
        number,
        functions: 1,
        overridden: 0,
        name: field(name),
        module: field(name),
        description: field(""),
    };
    record.to_bytes().to_vec()
}

fn patch_status(name: &str, number: u32) -> Vec<u8> {
    let record = PatchStatus {
        version: STATUS_VERSION,
        number,
        state: PatchState::Applied.number(),
        functions: 1,
        jumping: 1,
        name: field(name),
        ..PatchStatus::default()
    };
    record.to_bytes().to_vec()
}

fn site(name: &str) -> Vec<u8> {
    let record = FunctionStatus {
        version: STATUS_VERSION,
        state: SiteState::Jump.number(),
        name: field(name),
        ..FunctionStatus::default()
    };
    record.to_bytes().to_vec()
}

fn failure(code: ErrorCode, subject: &str, detail: u64) -> Vec<u8> {
    let record =
        Failure { code: code.number(), detail, subject: field(subject), ..Failure::default() };
    record.to_bytes().to_vec()
}

fn show_reply(name: &str) -> ReplyBuilder {
    ReplyBuilder::default()
        .record(RecordKind::Loaded, &loaded("fix", 3))
        .record(RecordKind::Patch, &patch_status("fix", 3))
        .record(RecordKind::Function, &LoadedFunction::default().to_bytes())
        .record(RecordKind::Site, &site(name))
}

fn status_reply() -> ReplyBuilder {
    let system = SystemStatus {
        version: STATUS_VERSION,
        extension: Extension::Svm.number(),
        assists: ASSIST_NEXT_RIP | ASSIST_FLUSH_BY_ASID,
        containment: CONTAINS_INIT,
        release: field("0.1.0"),
        ..SystemStatus::default()
    };
    let manager = ManagerStatus { interface: 3, overridden: 0 };
    let mut exits = ExitCounters { version: STATUS_VERSION, count: 1, ..Default::default() };
    exits.counters[0] = 12;
    ReplyBuilder::default()
        .record(RecordKind::Manager, &manager.to_bytes())
        .record(RecordKind::System, &system.to_bytes())
        .record(RecordKind::Exits, &exits.to_bytes())
}

/// An applied patch with one function.
pub(crate) fn patch(name: &str, number: u32) -> Patch {
    let reply = ReplyBuilder::default()
        .record(RecordKind::Loaded, &loaded(name, number))
        .record(RecordKind::Patch, &patch_status(name, number));
    list(&reply.build()).unwrap().remove(0)
}

/// A function that is redirected by a jump.
pub(crate) fn function(name: &str) -> Function {
    show(&show_reply(name).build()).unwrap().functions.remove(0)
}

/// A patch with this function.
pub(crate) fn shown(function: Function) -> Shown {
    Shown {
        patch: patch("fix", 3),
        functions: vec![function],
        values: Vec::new(),
        versions: Vec::new(),
    }
}

/// The state of a machine that has had twelve exits.
pub(crate) fn some_status() -> Status {
    status(&status_reply().build()).unwrap()
}

#[test]
fn who_stands_in_the_way_follows_what_it_is_about() {
    let record = |thread, place| reply::Inside {
        thread,
        reserved: 0,
        seconds: 9,
        name: field("cat"),
        place: field(place),
    };
    let reply = ReplyBuilder::default()
        .record(RecordKind::Loaded, &loaded("fix", 3))
        .record(RecordKind::Twins, &reply::TwinCount { count: 2, name: field("a") }.to_bytes())
        .record(RecordKind::Twins, &reply::TwinCount { count: 0, name: field("b") }.to_bytes())
        .record(RecordKind::Inside, &record(7, "f+0x1/0x2 [fix]").to_bytes())
        .record(RecordKind::Function, &LoadedFunction::default().to_bytes())
        .record(RecordKind::Site, &site("f"))
        .record(RecordKind::Inside, &record(8, "f+0x3/0x9").to_bytes());
    let shown = show(&reply.clone().build()).unwrap();
    let twins: Vec<(&str, u64)> =
        shown.patch.twins.iter().map(|twins| (twins.name.as_str(), twins.count)).collect();
    assert_eq!(twins, [("a", 2), ("b", 0)]);
    let inside = shown.patch.inside.unwrap();
    assert_eq!((inside.thread, inside.place.as_str()), (7, "f+0x1/0x2 [fix]"));
    assert_eq!(shown.functions[0].inside.as_ref().unwrap().thread, 8);
    let twice = reply.record(RecordKind::Inside, &record(9, "").to_bytes()).build();
    assert!(show(&twice).is_err());
}

#[test]
fn data_versions_follow_functions() {
    let patch = PatchStatus {
        version: STATUS_VERSION,
        number: 3,
        state: PatchState::Applied.number(),
        functions: 1,
        data_versions: 1,
        name: field("fix"),
        ..PatchStatus::default()
    };
    let version = VersionStatus {
        version: STATUS_VERSION,
        state: VersionState::Both.number(),
        object_size: 4,
        twin_size: 16,
        pairs: 2,
        guarded_pages: 3,
        flags: DATA_PER_CPU,
        traps: 7,
        carried: 4,
        neighbours: 3,
        name: field("counters"),
        ..VersionStatus::default()
    };
    let reply = |version: Option<VersionStatus>| {
        let head = ReplyBuilder::default()
            .record(RecordKind::Loaded, &loaded("fix", 3))
            .record(RecordKind::Patch, &patch.to_bytes())
            .record(RecordKind::Function, &LoadedFunction::default().to_bytes())
            .record(RecordKind::Site, &site("f"));
        match version {
            Some(version) => head.record(RecordKind::Version, &version.to_bytes()).build(),
            None => head.build(),
        }
    };
    let shown = show(&reply(Some(version))).unwrap();
    assert_eq!(shown.versions[0].state, VersionState::Both);
    let text = crate::render::show(&shown);
    for part in [
        "data version  counters\n",
        "  up to date  objects and twins, each write is carried\n",
        "  pairs       2 of 4 and 16 bytes\n",
        "  is          per CPU\n",
        "  guarded     3 pages\n",
        "  writes      7 seen, 4 carried, 3 beside it\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = crate::json::show(&shown);
    assert_eq!(json["version"][0]["sides"], "BOTH");
    assert_eq!(json["version"][0]["carried"], 4);
    assert!(show(&reply(None)).is_err());
    assert!(show(&reply(Some(VersionStatus { state: 3, ..version }))).is_err());
}

#[test]
fn a_refusal_is_one_line() {
    let record = failure(ErrorCode::Stacked, "fix", 7);
    let reply = ReplyBuilder::default().record(RecordKind::Failure, &record).build();
    for error in [done(&reply), list(&reply).map(|_| ()), outcome(&reply).map(|_| ())] {
        let error = error.unwrap_err();
        assert_eq!(error.code(), "STACKED");
        assert_eq!(error.to_string(), "fix: a later patch stands on this one (0x7)");
    }
}

#[test]
fn a_verdict_is_no_error_unless_it_is_a_refusal() {
    let reply = |verdict: Verdict| {
        let record = LoadOutcome { verdict: verdict.number(), reserved: 0 };
        ReplyBuilder::default().record(RecordKind::Outcome, &record.to_bytes())
    };
    for &verdict in Verdict::ALL {
        let read = outcome(&reply(verdict).build());
        match verdict {
            Verdict::Refused => assert_eq!(read.unwrap_err().code(), "REPLY"),
            verdict => assert_eq!(read.unwrap(), verdict),
        }
    }
    let why = failure(ErrorCode::NotAFunction, "f", 0);
    let refused = reply(Verdict::Refused).record(RecordKind::Failure, &why).build();
    assert_eq!(outcome(&refused).unwrap_err().code(), "NOT_A_FUNCTION");
    let checked = reply(Verdict::Checked).record(RecordKind::Failure, &why).build();
    assert_eq!(outcome(&checked).unwrap_err().code(), "REPLY");
}

#[test]
fn patches_come_with_what_is_said_of_them() {
    let kept = lucos_guest_interface::patch_module::PatchKeptRecord {
        what: field("late_work"),
        how: field("stored in a work item"),
    };
    let reply = ReplyBuilder::default()
        .record(RecordKind::Loaded, &loaded("one", 1))
        .record(RecordKind::Kept, &kept.to_bytes())
        .record(RecordKind::Kept, &kept.to_bytes())
        .record(RecordKind::Loaded, &loaded("two", 2))
        .record(RecordKind::Patch, &patch_status("two", 2));
    let patches = list(&reply.build()).unwrap();
    let names: Vec<_> = patches.iter().map(|patch| patch.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(patches[0].kept.len(), 2);
    assert_eq!(patches[0].kept[0].how, "stored in a work item");
    assert!(patches[0].status.is_none() && patches[1].status.is_some());
}

#[test]
fn what_is_missing_or_too_much_is_a_fault() {
    let check = |reply: ReplyBuilder, fault| {
        let error = show(&reply.build()).unwrap_err();
        assert!(matches!(error, Error::Reply(found) if found == fault), "{error}");
    };
    let reply = ReplyBuilder::default().record(RecordKind::Loaded, &loaded("fix", 3));
    check(ReplyBuilder::default(), ReplyFault::Missing(RecordKind::Loaded));
    check(reply, ReplyFault::Missing(RecordKind::Function));
    let again = show_reply("f").record(RecordKind::Loaded, &loaded("fix", 3));
    check(again, ReplyFault::Unexpected(RecordKind::Loaded));
    let twice = show_reply("f").record(RecordKind::Site, &site("f"));
    check(twice, ReplyFault::Unexpected(RecordKind::Site));
    assert_eq!(done(&status_reply().build()).unwrap_err().code(), "REPLY");
    assert_eq!(log(&status_reply().build()).unwrap_err().code(), "REPLY");
}

#[test]
fn the_log_comes_in_pieces() {
    let reply = ReplyBuilder::default().log(10, b"one\n").log(20, b"twelve bytes");
    let pieces = log(&reply.build()).unwrap().pieces;
    let expected = [(10, "one\n"), (20, "twelve bytes")];
    assert_eq!(pieces.len(), 2);
    for (piece, (offset, text)) in pieces.iter().zip(expected) {
        assert_eq!((piece.offset, piece.text.as_slice()), (offset, text.as_bytes()));
    }
}
