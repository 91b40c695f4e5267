//! Replies of the update manager: a reader that lies in userland, with a kernel module at the other
//! end.

use lucos::answer;
use lucos_guest_interface::patch_module::PatchKeptRecord;
use lucos_guest_interface::reply::{
    Failure, Inside, Item, LoadOutcome, LoadedFunction, LoadedPatch, LoadedState, ManagerStatus,
    MeasuredStops, OutsideProcessor, RecordKind, ReplyBuilder, TwinCount, Verdict, read,
};
use lucos_guest_interface::status::{
    ExitCounters, Extension, FunctionStatus, PatchState, PatchStatus, STATUS_VERSION, SystemStatus,
};
use lucos_guest_interface::{ErrorCode, name};

/// The bytes are taken for the reply to every command.
pub fn check(data: &[u8]) -> bool {
    let items = read(data).and_then(Iterator::collect::<Result<Vec<Item<'_>>, _>>);
    let answers = [
        answer::done(data).is_ok(),
        answer::status(data).is_ok(),
        answer::list(data).is_ok_and(|patches| {
            assert!(patches.iter().all(|patch| patch.overridden <= patch.functions));
            true
        }),
        answer::show(data).is_ok_and(|shown| {
            assert_eq!(shown.functions.len(), shown.patch.functions as usize);
            true
        }),
        answer::log(data).is_ok_and(|log| {
            let text: usize = log.pieces.iter().map(|piece| piece.text.len()).sum();
            assert!(text <= data.len());
            true
        }),
        answer::stops(data).is_ok(),
        answer::values(data).is_ok(),
        answer::outcome(data).is_ok(),
    ];
    let accepted = answers.contains(&true);
    assert!(!accepted || items.is_ok(), "a reply with a fault is an answer");
    if let Ok(items) = &items
        && let [Item::Failure(_)] = items.as_slice()
    {
        assert!(!accepted, "a refusal is an answer");
    }
    items.is_ok()
}

/// A reply to each command.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let system = SystemStatus {
        version: STATUS_VERSION,
        extension: Extension::Svm.number(),
        ..SystemStatus::default()
    };
    let exits = ExitCounters { version: STATUS_VERSION, count: 24, ..ExitCounters::default() };
    let field = name::field("example").expect("a name");
    let loaded = LoadedPatch {
        state: LoadedState::Applied.number(),
        number: 1,
        functions: 1,
        overridden: 0,
        name: field,
        module: field,
        description: [0; 128],
    };
    let patch = PatchStatus {
        version: STATUS_VERSION,
        state: PatchState::Applied.number(),
        name: field,
        ..PatchStatus::default()
    };
    let site = FunctionStatus { version: STATUS_VERSION, name: field, ..FunctionStatus::default() };
    let kept = PatchKeptRecord { what: field, how: [0; 128] };
    let failure =
        Failure { code: ErrorCode::Stacked.number(), detail: 1, subject: field, reserved: 0 };
    let outcome = LoadOutcome { verdict: Verdict::Refused.number(), reserved: 0 };
    let reply = ReplyBuilder::default;
    let list = || {
        reply()
            .record(RecordKind::Loaded, &loaded.to_bytes())
            .record(RecordKind::Patch, &patch.to_bytes())
            .record(RecordKind::Kept, &kept.to_bytes())
            .record(RecordKind::Twins, &TwinCount { count: 3, name: field }.to_bytes())
    };
    let inside = Inside { thread: 7, reserved: 0, seconds: 1, name: field, place: [0; 128] };
    vec![
        reply().build(),
        reply().record(RecordKind::Failure, &failure.to_bytes()).build(),
        reply()
            .record(RecordKind::Manager, &ManagerStatus::default().to_bytes())
            .record(RecordKind::System, &system.to_bytes())
            .record(RecordKind::Exits, &exits.to_bytes())
            .record(RecordKind::Outside, &OutsideProcessor::default().to_bytes())
            .build(),
        list().build(),
        list()
            .record(RecordKind::Function, &LoadedFunction::default().to_bytes())
            .record(RecordKind::Site, &site.to_bytes())
            .record(RecordKind::Inside, &inside.to_bytes())
            .build(),
        reply().log(0, b"one").log(3, b"two and more\n").build(),
        reply().record(RecordKind::Stops, &MeasuredStops::default().to_bytes()).build(),
        reply()
            .record(RecordKind::Outcome, &outcome.to_bytes())
            .record(RecordKind::Failure, &failure.to_bytes())
            .build(),
    ]
}
