//! Changes that reach objects which the diff does not name, each by another way.

use std::collections::BTreeSet;
use std::fs;

use libtest_mimic::{Failed, Trial};
use lucos_patch_builder::manifest::Revision;
use lucos_tests::equal;
use lucos_tests::patch::{explain, sources};

/// A change of one line, and what it has to reach: these objects are compiled and no others, and
/// these functions change, among others.
#[derive(Clone, Copy)]
struct Seen {
    name: &'static str,
    file: &'static str,
    /// What the first line that is meant begins with, and the text in it that another one replaces.
    line: &'static str,
    from: &'static str,
    to: &'static str,
    objects: &'static [&'static str],
    functions: &'static [&'static str],
}

const SEEN: [Seen; 5] = [
    // Read once for each of its meanings, through the name that TRACE_INCLUDE makes.
    Seen {
        name: "an_event",
        file: "include/trace/events/oom.h",
        line: "\t\t__entry->uid = uid;",
        from: "uid;",
        to: "uid + 1;",
        objects: &["mm/oom_kill.o"],
        functions: &["perf_trace_mark_victim", "trace_event_raw_event_mark_victim"],
    },
    // The same, by a path of its own.
    Seen {
        name: "an_event_of_a_module",
        file: "fs/nfsd/trace.h",
        line: "\t\t__entry->opcnt = opcnt;",
        from: "= ",
        to: "= 1 + ",
        objects: &["fs/nfsd/trace.o"],
        functions: &["perf_trace_nfsd_compound", "trace_event_raw_event_nfsd_compound"],
    },
    Seen {
        name: "a_header_for_programs",
        file: "include/uapi/linux/fuse.h",
        line: "#define FUSE_ASYNC_READ\t",
        from: "<< 0",
        to: "<< 1",
        objects: &["fs/fuse/inode.o"],
        functions: &["fuse_send_init", "process_init_reply"],
    },
    Seen {
        name: "a_header_of_a_module",
        file: "fs/fuse/fuse_i.h",
        line: "\treturn get_fuse_inode(inode)->nodeid;",
        from: "return ",
        to: "return 2 * ",
        objects: &[
            "fs/fuse/dir.o",
            "fs/fuse/file.o",
            "fs/fuse/inode.o",
            "fs/fuse/ioctl.o",
            "fs/fuse/readdir.o",
            "fs/fuse/xattr.o",
        ],
        functions: &["fuse_lookup"],
    },
    // Compiled as a part of another file.
    Seen {
        name: "a_part_of_a_file",
        file: "kernel/sched/rt.c",
        line: "\t\trt_se->timeout = 0;",
        from: "0",
        to: "1",
        objects: &["kernel/sched/build_policy.o"],
        functions: &["enqueue_task_rt"],
    },
];

pub(super) fn trials(running: fn() -> Result<Revision, Failed>) -> Vec<Trial> {
    let one = |seen: Seen| {
        let name = format!("builder::{}_is_seen", seen.name);
        Trial::test(name, move || is_seen(&seen, &running()?))
    };
    SEEN.map(one).into()
}

fn is_seen(seen: &Seen, running: &Revision) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let (diff, module) = (folder.path().join("seen.diff"), folder.path().join("seen.ko"));
    fs::write(&diff, another(running, seen)?)?;
    let built = explain(running, &[&diff.to_string_lossy()], &module)?;
    equal(&built.stderr, built.is_success, true)?;
    let set = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
    equal("objects", built.objects(), set(seen.objects))?;
    let (changes, functions) = (built.changes(), set(seen.functions));
    equal(&format!("{functions:?} in {changes:?}"), functions.is_subset(&changes), true)?;
    equal("module", module.is_file(), true)
}

/// A diff that changes the line.
fn another(running: &Revision, seen: &Seen) -> Result<String, Failed> {
    let Seen { file, line, from, to, .. } = seen;
    let text = fs::read_to_string(sources(running)?.join(file))?;
    let found = text.lines().zip(1..).find(|(text, _)| text.starts_with(line));
    let (old, at) = found.ok_or_else(|| format!("{file} has no line {line:?}"))?;
    let new = old.replacen(from, to, 1);
    Ok(format!("--- a/{file}\n+++ b/{file}\n@@ -{at},1 +{at},1 @@\n-{old}\n+{new}\n"))
}
