//! What the kernel keeps of a patch after its rollback: its own constants are used where it has them,
//! and the module stays where it cannot be told when the kernel is done with something.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use lucos_patch_builder::manifest::{Manifest, Revision};
use lucos_patch_builder::pinned;
use lucos_tests::patch::{self, Explained, explain};
use lucos_tests::{COMPLAINTS, Run, Script, SharedBoot, equal};

/// The kernels that the fixes are for.
const MANIFESTS: [(&str, &str); 2] = [
    ("tests/fixes/debian-6.1.toml", include_str!("../fixes/debian-6.1.toml")),
    ("tests/fixes/debian-6.12.toml", include_str!("../fixes/debian-6.12.toml")),
];

/// A setting of the protocol holds the address of a text that its handler stores.
const FILE: &str = "net/sctp/sysctl.c";
const MODULES: [&str; 5] = [
    "lib/libcrc32c",
    "net/ipv4/udp_tunnel",
    "net/ipv6/ip6_udp_tunnel",
    "net/sctp/sctp",
    // Comes and goes.
    "mm/zsmalloc",
];

/// Where lines are put: the includes, the beginning of the handler, and where it has a new value.
const INCLUDES: &str = "#include <net/sctp/sctp.h>";
const BEGINNING: &str = "\tmemset(&tbl, 0, sizeof(struct ctl_table));";
const WRITTEN: &str = "\tif (write && ret == 0) {";

/// Lines that are put behind a line.
type Change<'a> = &'a [(&'a str, &'a str)];

/// No text is touched.
const CHECK: Change<'_> = &[(BEGINNING, "\tif (write && *ppos)\n\t\treturn -EINVAL;")];

/// A text that only the patch has is stored; another one is printed only. A lock's key and name go
/// to a function that has no use for them in this kernel.
const TEXT: Change<'_> = &[
    (INCLUDES, "static struct mutex lucos_mutex;"),
    (
        WRITTEN,
        "\t\tif (!strncmp(tmp, \"own\", 3)) {
\t\t\tnet->sctp.sctp_hmac_alg = \"a text of the patch\";
\t\t\tmutex_init(&lucos_mutex);
\t\t\tpr_info(\"%s: %s\\n\", __func__, \"printed only\");
\t\t\tchanged = true;
\t\t}",
    ),
];

/// A function of the patch is called by the kernel from then on.
const CALL: Change<'_> = &[
    (
        INCLUDES,
        "#include <linux/module.h>
static int lucos_told(struct notifier_block *block, unsigned long what, void *data)
{
\tpr_info(\"told of a module\\n\");
\treturn 0;
}
static struct notifier_block lucos_block = { .notifier_call = lucos_told };",
    ),
    (
        WRITTEN,
        "\t\tif (!strncmp(tmp, \"call\", 4)) {
\t\t\tregister_module_notifier(&lucos_block);
\t\t\tchanged = true;
\t\t}",
    ),
];

/// The name of the function is stored.
const NAME: Change<'_> = &[(
    WRITTEN,
    "\t\tif (!strncmp(tmp, \"name\", 4)) {
\t\t\tnet->sctp.sctp_hmac_alg = (char *)__func__;
\t\t\tchanged = true;
\t\t}",
)];

/// Texts are taken out of tables: one that is written down, and one that the compiler makes.
const TABLE: Change<'_> = &[
    (
        INCLUDES,
        "static const char *const lucos_words[] = { \"first of a table\", \"second of a table\" };",
    ),
    (
        WRITTEN,
        "\t\tif (!strncmp(tmp, \"table\", 5)) {
\t\t\tnet->sctp.sctp_hmac_alg = (char *)lucos_words[tmp[5] & 1];
\t\t\tchanged = true;
\t\t}
\t\tif (!strncmp(tmp, \"case\", 4)) {
\t\t\tchar *word;
\t\t\tswitch (tmp[4]) {
\t\t\tcase '1': word = \"case one\"; break;
\t\t\tcase '2': word = \"case two\"; break;
\t\t\tcase '3': word = \"case three\"; break;
\t\t\tcase '4': word = \"case four\"; break;
\t\t\tcase '5': word = \"case five\"; break;
\t\t\tdefault: word = \"any case\"; break;
\t\t\t}
\t\t\tnet->sctp.sctp_hmac_alg = word;
\t\t\tchanged = true;
\t\t}",
    ),
];

/// A variable of the patch is stored, and a tracepoint gets a text: what listens may keep it.
const STATIC: Change<'_> = &[
    (
        INCLUDES,
        "#include <trace/events/rcu.h>
static char lucos_buffer[32] = \"a variable\";",
    ),
    (
        WRITTEN,
        "\t\tif (!strncmp(tmp, \"static\", 6)) {
\t\t\tlucos_buffer[0] = 'A';
\t\t\tnet->sctp.sctp_hmac_alg = lucos_buffer;
\t\t\ttrace_rcu_utilization(\"a text for an event\");
\t\t\tchanged = true;
\t\t}",
    ),
];

/// A function of the patch that is called once, later. The work is not the patch's.
const WORK: Change<'_> = &[
    (
        INCLUDES,
        "#include <linux/slab.h>
#include <linux/workqueue.h>
static void lucos_later(struct work_struct *work)
{
\tpr_info(\"later\\n\");
\tkfree(to_delayed_work(work));
}",
    ),
    (
        WRITTEN,
        "\t\tif (!strncmp(tmp, \"work\", 4)) {
\t\t\tstruct delayed_work *work = kzalloc(sizeof(*work), GFP_KERNEL);
\t\t\tif (!work)
\t\t\t\treturn -ENOMEM;
\t\t\tINIT_DELAYED_WORK(work, lucos_later);
\t\t\tschedule_delayed_work(work, 10 * HZ);
\t\t\tchanged = true;
\t\t}",
    ),
];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    MANIFESTS.iter().flat_map(|(file, text)| of_series(file, text)).collect()
}

fn of_series(file: &'static str, text: &'static str) -> Vec<Trial> {
    let series = file.trim_start_matches("tests/fixes/").trim_end_matches(".toml");
    SharedBoot::new(format!("kept::{series}"), move || machine(file, text))
        .steps(&steps())
        .check("the_kernels_own_text_stays", |results| {
            equal("before", results.text("check.before")?, "sha1\n")?;
            equal("written", results.text("check.written")?, "md5\n")?;
            equal("gone", results.text("check.left")?, "0\n")?;
            equal("restored", results.text("check.restored")?, "md5\n")
        })
        .check("a_new_text_keeps_the_module", |results| {
            let shown = results.json("text.show")?;
            let kept = shown["kept"].as_array().map_or(&[][..], Vec::as_slice);
            let what: Vec<&str> = kept.iter().filter_map(|one| one["what"].as_str()).collect();
            equal("kept", what, vec!["\"a text of the patch\""])?;
            let how = kept.first().and_then(|one| one["how"].as_str());
            equal("how", how, Some("stored by proc_sctp_do_hmac_alg"))?;
            let done = results.json("text.rollback")?;
            equal("unloaded", &done["unloaded"], &false.into())?;
            equal("told", &done["kept"], &true.into())?;
            equal("state", results.text("text.state")?, "kept\n")?;
            equal("text", results.text("text.restored")?, "a text of the patch\n")?;
            equal("rmmod", results.step("text.rmmod")?.status != 0, true)
        })
        .check("a_kept_patch_is_applied_again", |results| {
            equal("applied", results.text("again.state")?, "applied\n")?;
            equal("works", results.text("again.written")?, "a text of the patch\n")?;
            equal("kept again", results.text("again.kept")?, "kept\n")
        })
        .check("another_build_of_a_kept_patch_is_told_so", |results| {
            let complaint = results.complaint("other.apply")?;
            equal(complaint, complaint.contains("give this one another name"), true)?;
            equal("state", results.text("other.state")?, "kept\n")
        })
        .check("what_is_harmless_goes", |results| {
            equal("kept", &results.json("harmless.show")?["kept"], &serde_json::json!([]))?;
            equal("gone", results.text("harmless.left")?, "0\n")
        })
        .check("a_stored_function_is_called_after_the_rollback", |results| {
            equal("state", results.text("call.state")?, "kept\n")?;
            let calls: u32 = results.text("call.calls")?.trim().parse()?;
            equal("calls", calls > 0, true)
        })
        .check("the_functions_name_is_kept", |results| {
            equal("state", results.text("name.state")?, "kept\n")?;
            equal("text", results.text("name.restored")?, "proc_sctp_do_hmac_alg\n")
        })
        .check("what_is_taken_out_of_a_table_is_kept", |results| {
            equal("table", results.text("table.written")?, "second of a table\n")?;
            equal("state", results.text("table.state")?, "kept\n")?;
            equal("text", results.text("table.restored")?, "case three\n")
        })
        .check("a_variable_and_what_an_event_gets_are_kept", |results| {
            let shown = results.json("static.show")?;
            let kept = shown["kept"].as_array().map_or(&[][..], Vec::as_slice);
            let what: BTreeSet<&str> = kept.iter().filter_map(|one| one["what"].as_str()).collect();
            equal("kept", what, BTreeSet::from(["\"a text for an event\"", "lucos_buffer"]))?;
            equal("state", results.text("static.state")?, "kept\n")?;
            equal("text", results.text("static.restored")?, "A variable\n")
        })
        .check("a_function_that_is_called_later_is_kept", |results| {
            equal("too early", results.text("work.early")?, "0\n")?;
            equal("state", results.text("work.state")?, "kept\n")?;
            equal("calls", results.text("work.calls")?, "1\n")
        })
        .check("the_kernel_is_content", |results| {
            equal("kernel's log", results.text("kernel")?, "")
        })
        .trials()
}

fn steps() -> Script {
    let apply = |name: &str| format!("lucos apply /{name}.ko");
    let back = |name: &str| format!("lucos --json rollback {name}");
    let script = Script::new()
        .lines(
            "K=/proc/sys/net/sctp/cookie_hmac_alg
             state() { lucos list | awk -v name=\"$1\" '$1 == name { print $2 }'; }
             left() {
                 for i in $(seq 300); do grep -q \"^$1 \" /proc/modules || break; sleep 0.1; done
                 grep -c \"^$1 \" /proc/modules; true
             }
             for m in libcrc32c udp_tunnel ip6_udp_tunnel sctp; do insmod /$m.ko; done",
        )
        .step("check.before", "cat $K")
        .step("check.apply", &apply("check"))
        .step("check.written", "echo md5 >$K; cat $K")
        .step("check.rollback", &back("check"))
        .step("check.left", "left check")
        // What is loaded next may get the memory.
        .lines("insmod /zsmalloc.ko")
        .step("check.restored", "cat $K")
        .step("text.apply", &apply("text"))
        .step("text.show", "lucos --json show text")
        .lines("echo own >$K")
        .step("text.rollback", &back("text"))
        .step("text.state", "state text")
        .step("text.rmmod", "rmmod text")
        .lines("rmmod zsmalloc; insmod /zsmalloc.ko")
        .step("text.restored", "cat $K")
        .step("again.apply", &apply("text"))
        .step("again.state", "state text")
        .step("again.written", "echo sha1 >$K; echo own >$K; cat $K")
        .step("again.rollback", &back("text"))
        .step("again.kept", "state text")
        .step("other.apply", "lucos apply /other/text.ko")
        .step("other.state", "state text");
    script
        .step("harmless.apply", &apply("harmless"))
        .step("harmless.show", "lucos --json show harmless")
        .step("harmless.rollback", &back("harmless"))
        .step("harmless.left", "left harmless")
        .step("call.apply", &apply("call"))
        .lines("echo call >$K")
        .step("call.rollback", &back("call"))
        .step("call.state", "state call")
        .lines("rmmod zsmalloc; insmod /zsmalloc.ko")
        .step("call.calls", "dmesg | grep -c 'told of a module'")
        .step("name.apply", &apply("name"))
        .lines("echo name >$K")
        .step("name.rollback", &back("name"))
        .step("name.state", "state name")
        .lines("rmmod zsmalloc; insmod /zsmalloc.ko")
        .step("name.restored", "cat $K")
        .step("table.apply", &apply("table"))
        .step("table.written", "echo table1 >$K; cat $K")
        .lines("echo case3 >$K")
        .step("table.rollback", &back("table"))
        .step("table.state", "state table")
        .lines("rmmod zsmalloc; insmod /zsmalloc.ko")
        .step("table.restored", "cat $K")
        .step("static.apply", &apply("static"))
        .step("static.show", "lucos --json show static")
        .lines("echo static >$K")
        .step("static.rollback", &back("static"))
        .step("static.state", "state static")
        .lines("rmmod zsmalloc; insmod /zsmalloc.ko")
        .step("static.restored", "cat $K")
        .step("work.apply", &apply("work"))
        .lines("echo work >$K")
        .step("work.rollback", &back("work"))
        .step("work.state", "state work")
        .step("work.early", "dmesg | grep -c 'later$'; true")
        .lines("rmmod zsmalloc; insmod /zsmalloc.ko")
        .lines("for i in $(seq 300); do dmesg | grep -q 'later$' && break; sleep 0.1; done")
        .step("work.calls", "dmesg | grep -c 'later$'; true")
        .step("kernel", &format!("{COMPLAINTS}; true"))
}

/// Builds the patches and gives the machine that has them.
fn machine(file: &str, text: &str) -> Result<Run, Failed> {
    let pinned = Manifest::parse(Path::new(file), text)?;
    let running = pinned::running(&patch::archive()?, &pinned.running, patch::tell)?;
    let folder = tempfile::tempdir()?;
    let mut run = Run::lucos().version(&running.kernel).timeout(600);
    for module in MODULES {
        run = run.argument("--add").argument(patch::module(&running, module, folder.path())?);
    }
    let own = "\"a text of the patch\"";
    let expected: [(&str, Change<'_>, &[&str], &[&str]); 8] = [
        ("check", CHECK, &[], &[]),
        ("text", TEXT, &[], &[own]),
        ("harmless", TEXT, &["--harmless", "a text of the patch"], &[]),
        ("call", CALL, &[], &["lucos_block"]),
        ("name", NAME, &[], &["\"proc_sctp_do_hmac_alg\""]),
        (
            "table",
            TABLE,
            &[],
            &["\"first of a table\"", "\"second of a table\"", "\"case one\"", "\"any case\""],
        ),
        ("static", STATIC, &[], &["lucos_buffer", "\"a text for an event\""]),
        ("work", WORK, &[], &["lucos_later"]),
    ];
    for (name, change, arguments, kept) in expected {
        let module = folder.path().join(format!("{name}.ko"));
        let built = build(&running, change, arguments, &module)?;
        equal(&built.stderr, built.is_success, true)?;
        let kept: BTreeSet<String> = kept.iter().map(|what| (*what).to_owned()).collect();
        // How much of what a variable leads to is kept with it depends on the kernel's code.
        let found = built.kept();
        equal(&format!("{name} keeps {found:?}"), kept.is_subset(&found), true)?;
        equal(&format!("{name} keeps nothing"), found.is_empty(), kept.is_empty())?;
        run = run.argument("--add").argument(&module);
    }
    let other = folder.path().join("other");
    std::fs::create_dir(&other)?;
    let change = [TEXT, CHECK].concat();
    equal(
        "another build",
        build(&running, &change, &[], &other.join("text.ko"))?.is_success,
        true,
    )?;
    Ok(run.argument("--add").argument(&other).keep(folder))
}

fn build(
    running: &Revision,
    change: Change<'_>,
    arguments: &[&str],
    module: &Path,
) -> Result<Explained, Failed> {
    let diff = module.with_extension("diff");
    std::fs::write(&diff, patch::lines_behind(running, FILE, change)?)?;
    let diff = diff.to_string_lossy();
    let mut all = vec![diff.as_ref()];
    all.extend(arguments);
    explain(running, &all, module)
}
