//! Builds of patches for a real kernel that end before a guest has them: refusals, changes without
//! effect, and what the builder finds by itself. No machine is started.

mod seen;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use lucos_patch_builder::manifest::{Manifest, Revision};
use lucos_tests::equal;
use lucos_tests::patch::{self, Explained, explain, lines_behind, sources};

const MANIFEST: (&str, &str) =
    ("tests/fixes/debian-6.1.toml", include_str!("../fixes/debian-6.1.toml"));
const LATER: (&str, &str) =
    ("tests/fixes/debian-6.12.toml", include_str!("../fixes/debian-6.12.toml"));

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        // Its header is one that nearly every object includes: all are preprocessed, once for a kernel.
        Trial::test("builder::a_function_comes_with_what_it_needs", completed)
            .with_ignored_flag(true),
        Trial::test("builder::cve", cve),
        Trial::test("builder::no_effect", no_effect),
        Trial::test("builder::refused_generated", generated),
    ];
    trials.extend(
        REFUSED.map(|one| {
            Trial::test(format!("builder::refused_{}", one.name), move || refused(&one))
        }),
    );
    trials.extend(seen::trials(running));
    for (series, manifest) in [("debian-6.1", MANIFEST), ("debian-6.12", LATER)] {
        let name = format!("builder::{series}::a_pasted_name_has_its_users");
        // Which files each object includes is asked for once for a kernel.
        let is_long = series != "debian-6.1";
        trials.push(Trial::test(name, move || pasted(manifest)).with_ignored_flag(is_long));
    }
    trials
}

fn available((file, text): (&str, &str)) -> Result<(Manifest, bool), Failed> {
    patch::available(&Manifest::parse(Path::new(file), text)?)
}

fn running() -> Result<Revision, Failed> {
    Ok(available(MANIFEST)?.0.running)
}

/// The manifest, for tests of what the difference between its kernel and its source is: none when
/// the archive has dropped one of them.
fn pinned() -> Result<Option<Manifest>, Failed> {
    let (manifest, is_pinned) = available(MANIFEST)?;
    if !is_pinned {
        patch::tell("the test is about what is gone, and not run");
    }
    Ok(Some(manifest).filter(|_| is_pinned))
}

fn words(text: &[&str]) -> BTreeSet<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

fn files(built: &Explained) -> BTreeSet<&str> {
    let files = built.explanation["files"].as_array().map_or(&[][..], Vec::as_slice);
    files.iter().filter_map(|file| file.as_str()).collect()
}

/// The new `move_vma` calls a function with one argument more than the kernel's header declares.
fn completed() -> Result<(), Failed> {
    let Some(Manifest { running, fixed, .. }) = pinned()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let module = folder.path().join("mremap.ko");
    let arguments =
        ["--from-debian", &fixed.source, "--file", "mm/mremap.c", "--function", "move_vma"];
    let built = explain(&running, &arguments, &module)?;
    equal(&built.stderr, built.is_success, true)?;
    let expected = BTreeSet::from(["include/linux/mm.h", "mm/mmap.c", "mm/mremap.c"]);
    equal("files", files(&built), expected)?;
    equal("functions", built.changes(), words(&["copy_vma", "move_vma"]))?;
    equal("module", module.is_file(), true)
}

/// Nobody's source has the name of a function that `TAS_BUFFER_FNS` makes and that its macro's text
/// has: the users call `test_clear_buffer_dirty`.
fn pasted(manifest: (&str, &str)) -> Result<(), Failed> {
    const HEADER: &str = "include/linux/buffer_head.h";
    const LINE: &str = "\treturn test_and_clear_bit(BH_##bit, &(bh)->b_state);";
    let running = available(manifest)?.0.running;
    let folder = tempfile::tempdir()?;
    let text = fs::read_to_string(sources(&running)?.join(HEADER))?;
    let found = text.lines().enumerate().find(|(_, line)| line.starts_with(LINE));
    let (at, line) = found.ok_or_else(|| format!("{HEADER} has no line {LINE:?}"))?;
    let new = line.replace("return", "return buffer_##name(bh) &&");
    let diff = folder.path().join("pasted.diff");
    let at = at + 1;
    fs::write(
        &diff,
        format!("--- a/{HEADER}\n+++ b/{HEADER}\n@@ -{at},1 +{at},1 @@\n-{line}\n+{new}\n"),
    )?;
    let module = folder.path().join("pasted.ko");
    let built = explain(&running, &[&diff.to_string_lossy()], &module)?;
    equal(&built.stderr, built.is_success, true)?;
    let objects = built.objects();
    for user in ["fs/buffer.o", "fs/jbd2/revoke.o", "fs/jbd2/transaction.o"] {
        equal(&format!("{user} in {objects:?}"), objects.contains(user), true)?;
    }
    // Of those that include the header most call no such function.
    equal("others", objects.contains("fs/ext4/super.o"), false)?;
    equal("module", module.is_file(), true)
}

fn cve() -> Result<(), Failed> {
    let Some(Manifest { running, .. }) = pinned()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let module = folder.path().join("cve.ko");
    let built = explain(&running, &["--cve", "CVE-2026-90058"], &module)?;
    equal(&built.stderr, built.is_success, true)?;
    equal("functions", built.changes(), words(&["__qdisc_calculate_pkt_len"]))?;
    equal("module", module.is_file(), true)?;

    let unknown = explain(&running, &["--cve", "CVE-1999-0001"], &module)?;
    equal("unknown", unknown.is_success, false)?;
    equal("names it", text(&unknown).contains("CVE-1999-0001"), true)
}

fn text(built: &Explained) -> &str {
    built.explanation["error"].as_str().unwrap_or_default()
}

fn build(file: &str, line: &str, added: &str) -> Result<(Explained, bool), Failed> {
    let running = running()?;
    let folder = tempfile::tempdir()?;
    let diff = folder.path().join("change.diff");
    fs::write(&diff, lines_behind(&running, file, &[(line, added)])?)?;
    let module = folder.path().join("change.ko");
    let built = explain(&running, &[&diff.to_string_lossy()], &module)?;
    Ok((built, module.exists()))
}

/// What the build makes of the configuration is no file of the source.
fn generated() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let (diff, module) = (folder.path().join("hz.diff"), folder.path().join("hz.ko"));
    for (from, hunk) in [
        ("a/include/generated/autoconf.h", "@@ -1,1 +1,1 @@\n-#define CONFIG_HZ 250\n"),
        ("/dev/null", "@@ -0,0 +1,1 @@\n"),
    ] {
        let head = format!("--- {from}\n+++ b/include/generated/autoconf.h\n");
        fs::write(&diff, format!("{head}{hunk}+#define CONFIG_HZ 300\n"))?;
        let built = explain(&running()?, &[&diff.to_string_lossy()], &module)?;
        equal("success", built.is_success, false)?;
        let error = text(&built);
        let is_named = error.contains("autoconf.h") && error.contains("the build makes it");
        equal(error, is_named, true)?;
    }
    Ok(())
}

fn no_effect() -> Result<(), Failed> {
    let line = "\tstruct eventfd_ctx *ctx = file->private_data;";
    let (built, has_module) = build("fs/eventfd.c", line, "\tif (0)\n\t\treturn 1;\n")?;
    equal(&built.stderr, built.is_success, true)?;
    equal("reason", built.explanation["without_module"].as_str(), Some("same-code"))?;
    equal("module", has_module, false)
}

/// A change that is refused: lines behind another, and what the error names.
#[derive(Clone, Copy)]
struct Refused {
    name: &'static str,
    file: &'static str,
    line: &'static str,
    added: &'static str,
    named: &'static [&'static str],
}

const REFUSED: [Refused; 7] = [
    Refused {
        name: "layout",
        file: "fs/eventfd.c",
        line: "\t__u64 count;",
        added: "\tunsigned long more;",
        named: &["fs/eventfd.o", "struct eventfd_ctx", "more"],
    },
    Refused {
        name: "data",
        file: "mm/util.c",
        line: "int sysctl_max_map_count __read_mostly",
        added: "static int added_by_a_test = 7;\nmodule_param(added_by_a_test, int, 0600);",
        named: &["mm/util.o", "added_by_a_test"],
    },
    Refused {
        name: "init",
        file: "fs/eventpoll.c",
        line: "\tstruct sysinfo si;",
        added: "\tpr_info(\"added by a test\");",
        named: &["fs/eventpoll.o", "eventpoll_init"],
    },
    Refused {
        name: "assembly",
        file: "arch/x86/lib/memcpy_64.S",
        line: "#include <linux/linkage.h>",
        added: "#include <linux/types.h>",
        named: &["arch/x86/lib/memcpy_64.S", "assembly"],
    },
    Refused {
        name: "header_of_assembly",
        file: "arch/x86/entry/calling.h",
        line: ".macro PUSH_AND_CLEAR_REGS",
        added: "\tnop",
        named: &["arch/x86/entry/calling.h", "arch/x86/entry/entry_64.S is assembly"],
    },
    Refused {
        name: "vdso",
        file: "arch/x86/entry/vdso/vma.c",
        line: "#include <linux/mm.h>",
        added: "#include <linux/types.h>",
        named: &["arch/x86/entry/vdso/vma.c", "vDSO"],
    },
    Refused {
        name: "source",
        file: "fs/eventfd.c",
        line: "\t__u64 count;",
        added: "\tthis is no C;",
        named: &["fs/eventfd.o", "error:"],
    },
];

/// One error that names what is wrong, and no module.
fn refused(change: &Refused) -> Result<(), Failed> {
    let (built, has_module) = build(change.file, change.line, change.added)?;
    equal("success", built.is_success, false)?;
    equal("module", has_module, false)?;
    for name in change.named {
        equal(&format!("{name:?} in {}", text(&built)), text(&built).contains(name), true)?;
    }
    Ok(())
}
