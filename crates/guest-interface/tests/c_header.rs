//! `guest/include/lucos/interface.h`, the headers that it includes, and this crate must say the
//! same.
//!
//! A C program is compiled that includes them and prints every size, offset, number and text; the
//! output is compared with what this crate has.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use lucos_guest_interface::Field;
use lucos_guest_interface::call::{Call, Cause, QueryKind, UnregisterReason, Upcall};
use lucos_guest_interface::constants::CONSTANTS;
use lucos_guest_interface::descriptor::{
    DataVersionRecord, DependencyRecord, DescriptorHeader, FunctionRecord, SharedFieldRecord,
    ValueRecord,
};
use lucos_guest_interface::error::ErrorCode;
use lucos_guest_interface::group::GroupHeader;
use lucos_guest_interface::patch_module::{
    PatchExpectedRecord, PatchFunctionRecord, PatchKeptRecord, PatchRecord, PatchValueRecord,
};
use lucos_guest_interface::registration::RegistrationRecord;
use lucos_guest_interface::reply::{
    Event, EventKind, Failure, Inside, LoadOutcome, LoadedFunction, LoadedPatch, LoadedState,
    LogPiece, ManagerStatus, MeasuredStops, OutsideProcessor, Probation, RecordHeader, RecordKind,
    ReplyHeader, TwinCount, Verdict,
};
use lucos_guest_interface::rollback::{RollbackHeader, RollbackVersion};
use lucos_guest_interface::status::{
    ExitClass, ExitCounters, Extension, FunctionStatus, JumpStatus, PatchState, PatchStatus,
    ProcessorList, SiteState, SystemStatus, ValueState, ValueStatus, VersionState, VersionStatus,
    WindowReason,
};
use lucos_guest_interface::upcall::{PairRecord, StoppedProcessor, StoppedProcessors};

/// A record: C name, size, fields.
type Record = (&'static str, usize, &'static [Field]);

/// A list: its macro in C, the prefix of its members, and number, name and text of each.
type List = (&'static str, &'static str, Vec<(u32, &'static str, &'static str)>);

macro_rules! records {
    ($($type:ident),+ $(,)?) => {
        [ $( ($type::C_NAME, $type::SIZE, $type::FIELDS) ),+ ]
    };
}

macro_rules! list {
    ($macro_name:literal, $prefix:literal, $type:ident) => {
        (
            $macro_name,
            $prefix,
            $type::ALL
                .iter()
                .map(|member| (member.number(), member.c_name(), member.meaning()))
                .collect(),
        )
    };
}

fn records() -> Vec<Record> {
    records![
        RegistrationRecord,
        DescriptorHeader,
        FunctionRecord,
        ValueRecord,
        DataVersionRecord,
        SharedFieldRecord,
        DependencyRecord,
        GroupHeader,
        RollbackHeader,
        RollbackVersion,
        PairRecord,
        StoppedProcessors,
        StoppedProcessor,
        SystemStatus,
        PatchStatus,
        FunctionStatus,
        ValueStatus,
        VersionStatus,
        JumpStatus,
        ExitCounters,
        ProcessorList,
        PatchRecord,
        PatchFunctionRecord,
        PatchValueRecord,
        PatchExpectedRecord,
        PatchKeptRecord,
        ReplyHeader,
        RecordHeader,
        Failure,
        ManagerStatus,
        LoadedPatch,
        LoadedFunction,
        OutsideProcessor,
        TwinCount,
        Inside,
        Probation,
        LogPiece,
        MeasuredStops,
        LoadOutcome,
        Event,
    ]
    .to_vec()
}

fn lists() -> Vec<List> {
    vec![
        list!("LUCOS_CALLS", "LUCOS_CALL_", Call),
        list!("LUCOS_UNREGISTER_REASONS", "LUCOS_UNREGISTER_", UnregisterReason),
        list!("LUCOS_QUERY_KINDS", "LUCOS_QUERY_", QueryKind),
        list!("LUCOS_CAUSES", "LUCOS_CAUSE_", Cause),
        list!("LUCOS_UPCALLS", "LUCOS_UPCALL_", Upcall),
        list!("LUCOS_ERRORS", "LUCOS_ERROR_", ErrorCode),
        list!("LUCOS_EXTENSIONS", "LUCOS_EXTENSION_", Extension),
        list!("LUCOS_PATCH_STATES", "LUCOS_PATCH_", PatchState),
        list!("LUCOS_SITE_STATES", "LUCOS_SITE_", SiteState),
        list!("LUCOS_VALUE_STATES", "LUCOS_VALUE_", ValueState),
        list!("LUCOS_VERSION_STATES", "LUCOS_VERSION_", VersionState),
        list!("LUCOS_WINDOW_REASONS", "LUCOS_REASON_", WindowReason),
        list!("LUCOS_EXIT_CLASSES", "LUCOS_EXIT_", ExitClass),
        list!("LUCOS_RECORD_KINDS", "LUCOS_RECORD_", RecordKind),
        list!("LUCOS_LOADED_STATES", "LUCOS_LOADED_", LoadedState),
        list!("LUCOS_VERDICTS", "LUCOS_VERDICT_", Verdict),
        list!("LUCOS_EVENT_KINDS", "LUCOS_EVENT_", EventKind),
    ]
}

/// The headers of the interface.
const HEADERS: [&str; 6] =
    ["interface.h", "descriptor.h", "errors.h", "patch_module.h", "reply.h", "status.h"];

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest/include")
}

/// The lines that the C program has to print.
fn expected() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (name, size, fields) in records() {
        lines.insert(format!("struct {name} {size}"));
        for field in fields {
            lines.insert(format!("field {name}.{} {} {}", field.name, field.offset, field.size));
        }
    }
    for (macro_name, prefix, members) in lists() {
        for (number, name, meaning) in members {
            lines.insert(format!("list {macro_name} {name} {number} {meaning}"));
            lines.insert(format!("member {prefix}{name} {number}"));
        }
    }
    for (name, value) in CONSTANTS {
        lines.insert(format!("constant {name} {value}"));
    }
    lines
}

/// The C program.
fn program() -> String {
    let mut source = String::from(
        "#include <stddef.h>\n#include <stdio.h>\n#include <lucos/interface.h>\nint main(void)\n{\n",
    );
    let mut add = |line: String| writeln!(source, "{line}").unwrap();
    for (name, _, fields) in records() {
        add(format!("printf(\"struct {name} %zu\\n\", sizeof(struct {name}));"));
        for Field { name: field, .. } in fields {
            add(format!(
                "printf(\"field {name}.{field} %zu %zu\\n\", offsetof(struct {name}, {field}), \
                 sizeof(((struct {name} *)0)->{field}));"
            ));
        }
    }
    for (macro_name, prefix, members) in lists() {
        add(format!(
            "#define PRINT(name, number, meaning) \
             printf(\"list {macro_name} %s %d %s\\n\", #name, number, meaning);"
        ));
        add(format!("{macro_name}(PRINT)\n#undef PRINT"));
        for (_, name, _) in members {
            add(format!("printf(\"member {prefix}{name} %d\\n\", {prefix}{name});"));
        }
    }
    for (name, _) in CONSTANTS {
        add(format!("printf(\"constant {name} %llu\\n\", (unsigned long long){name});"));
    }
    source.push_str("return 0;\n}\n");
    source
}

#[test]
fn the_c_headers_agree() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("print.c");
    let binary = folder.path().join("print");
    std::fs::write(&source, program()).unwrap();
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(include())
        .arg(&source)
        .arg("-o")
        .arg(&binary)
        .output()
        .expect("a C compiler named cc");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let printed = Command::new(&binary).output().unwrap();
    assert!(printed.status.success());
    let printed: BTreeSet<String> =
        String::from_utf8(printed.stdout).unwrap().lines().map(str::to_owned).collect();
    let expected = expected();
    let only_rust: Vec<_> = expected.difference(&printed).collect();
    let only_c: Vec<_> = printed.difference(&expected).collect();
    assert!(only_rust.is_empty() && only_c.is_empty(), "Rust: {only_rust:#?}\nC: {only_c:#?}");
}

/// What stands in the headers and is unknown here would not be compared at all.
#[test]
fn the_c_headers_define_nothing_else() {
    let read = |name: &str| std::fs::read_to_string(include().join("lucos").join(name)).unwrap();
    let text = HEADERS.map(read).concat();
    let lists = lists();
    let mut known: BTreeSet<&str> = CONSTANTS.iter().map(|(name, _)| *name).collect();
    known.extend(lists.iter().map(|(macro_name, ..)| *macro_name));
    let guards = HEADERS.map(|name| format!("LUCOS_{}", name.replace('.', "_").to_uppercase()));
    known.extend(guards.iter().map(String::as_str));
    known.insert("LUCOS_MEMBER");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("#define ") {
            let name = rest.split(['(', ' ']).next().unwrap_or_default();
            assert!(known.contains(name), "{name} is defined in C only");
        }
        if let Some(rest) = line.strip_prefix("struct ") {
            let name = rest.trim_end_matches(" {");
            assert!(records().iter().any(|record| record.0 == name), "{name} is in C only");
        }
    }
    let enumerations = text.lines().filter(|line| line.starts_with("enum ")).count();
    assert_eq!(enumerations, lists.len(), "an enumeration is in C only");
}
