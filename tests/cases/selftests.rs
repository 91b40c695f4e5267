//! The kernel's own selftests of livepatch and ftrace come to the same verdicts under LUCOS, with
//! patches in force, as on the bare machine.
//!
//! They are in Debian's packages of the kernel's source, which are fetched when a test runs.
//!
//! They change the kernel's code for minutes. A bare machine with two processors that QEMU emulates
//! hangs in that now and then (docs/testing.md), so the machines have one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use lucos_debian_archive::archive::Error;
use lucos_tests::patch::archive;
use lucos_tests::{Results, Run, Script, equal};
use tempfile::TempDir;

/// A series of kernels and its selftests.
#[derive(Clone, Copy)]
struct Series {
    name: &'static str,
    package: &'static str,
    /// Where the source has the modules of the livepatch tests.
    modules: &'static str,
}

const SERIES: [Series; 2] = [
    Series { name: "debian-6.1", package: "linux-source-6.1", modules: "lib/livepatch" },
    Series {
        name: "debian-6.12",
        package: "linux-source-6.12",
        modules: "tools/testing/selftests/livepatch/test_modules",
    },
];

const LIVEPATCH: &str = "tools/testing/selftests/livepatch";
const FTRACE: &str = "tools/testing/selftests/ftrace";

/// The folders of ftrace's tests. Each has a boot of its own: a tracer of all functions makes an
/// emulated machine slow. Of the others (direct, preemptirq, selftest, tracer) no test passes on these
/// kernels, nor on the bare machine: what they test is not built in.
const GROUPS: [&str; 8] =
    ["00basic", "dynevent", "event", "filter", "ftrace", "instances", "kprobe", "trigger"];

/// The programs that the tests expect in a Debian system, and their libraries.
const PROGRAMS: [&str; 27] = [
    "bash",
    "coreutils",
    "dash",
    "diffutils",
    "grep",
    "kmod",
    "libacl1",
    "libattr1",
    "libc-bin",
    "libc6",
    "libcap2",
    "libgcrypt20",
    "libgmp10",
    "libgpg-error0",
    "libkmod2",
    "liblz4-1",
    "liblzma5",
    "libpcre2-8-0",
    "libproc2-0",
    "libselinux1",
    "libssl3",
    "libsystemd0",
    "libtinfo6",
    "libzstd1",
    "mawk",
    "procps",
    "sed",
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in SERIES {
        let name = format!("selftests::{}::livepatch", series.name);
        trials.push(Trial::test(name, move || compare(series, &livepatch(series)?)));
        for group in GROUPS {
            let name = format!("selftests::{}::ftrace_{group}", series.name);
            trials.push(Trial::test(name, move || compare(series, &ftrace(group))));
        }
    }
    trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect()
}

/// Selftests, and how to read what they print.
struct Tests {
    script: Script,
    verdicts: fn(&Results) -> Result<Verdicts, Failed>,
    /// The verdict that at least one test must come to.
    passed: &'static str,
}

/// What came of each test.
type Verdicts = BTreeMap<String, String>;

/// Makes the programs usable: some tests name them by their usual places.
const PREPARE: &str = r#"
T=/opt/programs S=/opt/selftests M=/lib/lucos/modules
export LD_LIBRARY_PATH=$T/lib/x86_64-linux-gnu:$T/usr/lib/x86_64-linux-gnu
export PATH=$T/bin:$T/usr/bin:$T/sbin:$T/usr/sbin:$PATH
ln -sf $T/bin/bash /bin/bash; ln -sf $T/bin/dash /bin/sh; ln -sf $T/usr/bin/stat /bin/stat
ln -sf mawk $T/usr/bin/awk
"#;

/// The exit status of each script is its verdict.
fn livepatch(series: Series) -> Result<Tests, Failed> {
    // The older tests look for modules where `modprobe` does, the newer ones beside themselves.
    let mut script = Script::new().lines(
        "extra=/lib/modules/$(uname -r)/extra; mkdir -p ${extra%extra}build $extra $S/livepatch/test_modules
         cp $M/test_klp*.ko $extra; cp $M/test_klp*.ko $S/livepatch/test_modules
         bash -c 'depmod -a'; cd $S/livepatch",
    );
    for entry in fs::read_dir(source(series)?.join(LIVEPATCH))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("test-") && name.ends_with(".sh") {
            script = script.step(&name, &format!("bash -c 'timeout 900 bash ./{name} 2>&1'"));
        }
    }
    Ok(Tests { script, verdicts: livepatch_verdicts, passed: "0" })
}

fn livepatch_verdicts(results: &Results) -> Result<Verdicts, Failed> {
    let tests = results.all().filter(|(name, _)| name.starts_with("test-"));
    Ok(tests.map(|(name, step)| (name.to_owned(), step.status.to_string())).collect())
}

fn ftrace(group: &str) -> Tests {
    let script = Script::new().lines("cd $S/ftrace").step(
        "ftrace",
        &format!("bash -c 'timeout 1500 dash ./ftracetest test.d/{group} 2>&1; true'"),
    );
    Tests { script, verdicts: ftrace_verdicts, passed: "PASS" }
}

/// Reads lines such as `[3] what it tests<tab>[PASS]`.
fn ftrace_verdicts(results: &Results) -> Result<Verdicts, Failed> {
    let verdict = |line: &str| {
        let (test, verdict) = line.strip_prefix('[')?.split_once("\t[")?;
        Some((test.split_once(']')?.1.trim().to_owned(), verdict.strip_suffix(']')?.to_owned()))
    };
    Ok(results.text("ftrace")?.lines().filter_map(verdict).collect())
}

fn compare(series: Series, tests: &Tests) -> Result<(), Failed> {
    let prepare = Script::new().lines(PREPARE);
    let bare = boot(Run::bare(), series, &prepare.clone().then(&tests.script))?;
    let script = prepare
        .step(
            "apply",
            "lucos apply /lib/lucos/patches/cmdline_word.ko /lib/lucos/patches/uptime_loadavg.ko",
        )
        .then(&tests.script)
        .step("new", "cat /proc/cmdline /proc/uptime /proc/loadavg")
        .step("rollback", "lucos rollback cmdline_word && lucos rollback uptime_loadavg")
        .step("old", "cat /proc/cmdline /proc/uptime /proc/loadavg");
    let lucos = boot(Run::lucos(), series, &script)?;

    let verdicts = (tests.verdicts)(&bare)?;
    let mut counts = BTreeMap::<&str, u32>::new();
    for verdict in verdicts.values() {
        *counts.entry(verdict).or_default() += 1;
    }
    eprintln!("bare: {counts:?}");
    equal("there are tests", verdicts.is_empty(), false)?;
    equal("some pass", counts.contains_key(tests.passed), true)?;
    equal("verdicts", (tests.verdicts)(&lucos)?, verdicts)?;
    lucos.text("apply")?;
    equal("new functions", lucos.text("new")?.matches("patched").count(), 3)?;
    lucos.text("rollback")?;
    equal("old functions", lucos.text("old")?.matches("patched").count(), 0)
}

fn boot(run: Run, series: Series, script: &Script) -> Result<Results, Failed> {
    let folder = stage(series)?;
    let path = |name: &str| folder.path().join(name);
    let add = |name: &str| format!("{}:/opt/{name}", path(name).display());
    let run = run
        .guest(series.name)
        .cpus(1)
        .timeout(3600)
        .argument("--memory")
        .argument("1024")
        .argument("--modules")
        .argument(path("modules"))
        .argument("--add")
        .argument(add("selftests"))
        .argument("--add")
        .argument(format!("{}:/opt/programs", programs()?.display()));
    script.run(run.keep(folder))
}

/// The selftests as they lie in the guest, and a folder with the modules that they load.
fn stage(series: Series) -> Result<TempDir, Failed> {
    let folder = tempfile::tempdir()?;
    let source = source(series)?;
    let selftests = folder.path().join("selftests");
    let modules = folder.path().join("modules");
    fs::create_dir(&selftests)?;
    fs::create_dir(&modules)?;
    for tests in [LIVEPATCH, FTRACE] {
        succeed(Command::new("cp").arg("-r").arg(source.join(tests)).arg(&selftests))?;
    }
    let caller = source.join(LIVEPATCH).join("test_klp-call_getpid.c");
    if caller.is_file() {
        let program = selftests.join("livepatch/test_klp-call_getpid");
        succeed(Command::new("cc").args(["-static", "-o"]).args([&program, &caller]))?;
    }
    let mut objects = String::from("obj-m :=");
    for entry in fs::read_dir(source.join(series.modules))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("c")) {
            let name = path.file_name().unwrap_or_default();
            fs::copy(&path, modules.join(name))?;
            objects += &format!(" {}.o", path.file_stem().unwrap_or_default().to_string_lossy());
        }
    }
    fs::write(modules.join("Kbuild"), objects + "\n")?;
    Ok(folder)
}

/// The part of the kernel's source with the selftests, unpacked.
fn source(series: Series) -> Result<PathBuf, Failed> {
    let archive = archive()?;
    let package = archive.files(&[series.package])?.pop().ok_or("no package")?;
    let name = package.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let place = archive.place(&format!("selftests-{name}"));
    if place.is_dir() {
        return Ok(place);
    }
    archive.unpack_together(&[package], &place, |tree| {
        let packed = tree.join(format!("usr/src/{}.tar.xz", series.package));
        let mut folders = vec![LIVEPATCH, FTRACE];
        // tar wants each pattern to find something that none before it found.
        if !series.modules.starts_with(LIVEPATCH) {
            folders.push(series.modules);
        }
        let extracted = succeed(
            Command::new("tar")
                .args(["--strip-components=1", "--wildcards", "-xJf"])
                .arg(&packed)
                .arg("-C")
                .arg(tree)
                .args(folders.iter().map(|folder| format!("*/{folder}/*"))),
        );
        let removed = fs::remove_dir_all(tree.join("usr"));
        let wrong = |message: String| Error::Unpack { path: packed.clone(), message };
        extracted.map_err(|failed| wrong(failed.message().unwrap_or_default().to_owned()))?;
        removed.map_err(|error| wrong(error.to_string()))
    })?;
    Ok(place)
}

/// The programs, unpacked into one folder.
fn programs() -> Result<PathBuf, Failed> {
    let archive = archive()?;
    let place = archive.place("selftest-programs");
    if !place.is_dir() {
        let packages = archive.files(&PROGRAMS)?;
        archive.unpack_together(&packages, &place, |tree| {
            // Documentation would fill the guest's memory.
            let documentation = tree.join("usr/share");
            fs::remove_dir_all(&documentation)
                .map_err(|source| Error::Cache { path: documentation, source })
        })?;
    }
    Ok(place)
}

fn succeed(command: &mut Command) -> Result<(), Failed> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let program = Path::new(command.get_program()).display().to_string();
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)).into())
}
