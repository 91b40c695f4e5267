//! What the guest runs: a shell script around the program `figures`.

use crate::data;

/// The operations whose cost is compared with that of the bare guest.
pub const OPERATIONS: [&str; 9] =
    ["boot", "getpid", "page_fault", "mmap", "fork", "fork_exec", "pipe", "switch", "sleep_1ms"];

/// How many functions the measured patches replace.
pub const FUNCTIONS: [u32; 4] = [1, 2, 3, 13];

/// With how many sleeping threads stops are measured.
pub const THREADS: [u32; 2] = [50, 500];

/// Seconds for which an idle guest is watched.
pub const IDLE_SECONDS: u32 = 5;

/// Words for the kernel's command line: kernel and programs lie at the same places in every run,
/// with LUCOS and without, and the first program notes when it starts.
pub const WORDS: &str = "nokaslr norandmaps randomize_kstack_offset=off rdinit=/bin/figures";

/// A word for a kernel that tests its ciphers beside the boot: when the first program starts, now
/// more, now fewer of these tests have ended.
pub const NO_CIPHER_TESTS: &str = "cryptomgr.notests=1";

/// What the guest without LUCOS runs.
pub fn bare() -> &'static str {
    "echo kernel $(uname -r)\ncat /figures.boot\nfigures workload\nfigures cpuid\n"
}

/// The shell itself tells the update manager what to do; that it was done, the answers around it show.
/// Reading from a pipe into which nobody writes is a pause without a process. Two answers, one right
/// after the other, tell what asking costs.
const FUNCTIONS_OF_SHELL: &str = r#"
rmmod lucos && insmod /lib/modules/$(uname -r)/extra/lucos.ko unload_helper= || exit 1
exec 3<>/dev/lucos
mkfifo /tmp/nothing; exec 4<>/tmp/nothing
tell() { echo "$*" >&3; }
ask() { what=$1; shift; echo "$what $(lucos "$@" --json)"; }
pause() { read -r -t $1 nothing <&4; }
ask warm status; ask ask.0 status; ask ask.1 status
"#;

/// What the guest under LUCOS runs where work is counted, and stops too.
pub fn work_and_stops() -> String {
    let mut text = String::from(bare());
    text += FUNCTIONS_OF_SHELL;
    add_exits(&mut text);
    add_call(&mut text);
    add_all_stops(&mut text);
    text += &data::script();
    end(&mut text);
    text
}

/// How often each operation is done where its exits are counted, first and again: what is there once
/// for all falls out of the difference.
pub const TIMES: [u32; 2] = [10, 60];

/// What the guest under LUCOS runs where exits and stops are counted, of an extension that has exits.
pub fn exits_and_stops() -> String {
    let mut text = String::from("echo kernel $(uname -r)\n");
    text += FUNCTIONS_OF_SHELL;
    add_exits(&mut text);
    for operation in OPERATIONS.into_iter().filter(|operation| *operation != "boot") {
        add(&mut text, &format!("ask {operation}.0 status"));
        for (number, count) in (1..).zip(TIMES) {
            add(&mut text, &format!("figures times {operation} {count} || exit 1"));
            add(&mut text, &format!("ask {operation}.{number} status"));
        }
    }
    add_all_stops(&mut text);
    end(&mut text);
    text
}

/// What the guest under LUCOS runs where only stops are counted.
pub fn stops() -> String {
    let mut text = String::from("echo kernel $(uname -r)\n");
    text += FUNCTIONS_OF_SHELL;
    add_all_stops(&mut text);
    end(&mut text);
    text
}

/// The script's status is that of the measurements.
fn end(text: &mut String) {
    add(text, "exit 0");
}

fn add_all_stops(text: &mut String) {
    for functions in FUNCTIONS {
        // Loaded once; what is measured is not the kernel's module loader.
        let name = format!("figures_{functions}");
        add(text, &format!("lucos apply /lib/lucos/modules/{name}.ko >/dev/null || exit 1"));
        add(text, &format!("lucos rollback {name} >/dev/null || exit 1"));
    }
    for threads in THREADS {
        add(text, &format!("figures threads {threads} >/tmp/threads &"));
        add(text, "sleepers=$!; sleep 1; until grep -q ready /tmp/threads; do pause 1; done");
        for functions in FUNCTIONS {
            add_stops(text, functions, threads);
        }
        add(text, "kill $sleepers; wait $sleepers 2>/dev/null");
    }
}

fn add(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn add_exits(text: &mut String) {
    add(text, &format!("ask idle.0 status; pause {IDLE_SECONDS}; ask idle.1 status"));
    add(text, "ask load.0 status; figures load 1; ask load.1 status");
}

/// A call before the function is replaced, and when its trap has become a jump.
fn add_call(text: &mut String) {
    add(text, "echo call.before $(figures call)");
    add(text, "lucos apply /lib/lucos/modules/figures_call.ko >/dev/null || exit 1; pause 1");
    add(text, "ask call.status status");
    add(text, "echo call.after $(figures call)");
    add(text, "lucos rollback figures_call >/dev/null || exit 1");
}

/// The three stops of a patch.
fn add_stops(text: &mut String, functions: u32, threads: u32) {
    let (of, name) = (format!("{functions}.{threads}"), format!("figures_{functions}"));
    let mut line = |line: String| add(text, &line);
    let ask = |what: &str, question: &str| format!("ask {of}.{what} {question}");
    let show = format!("show {name}");
    line(ask("show", &show));
    line(ask("start", "status"));
    line(format!("tell apply {name}"));
    line(ask("applied", "status"));
    line(String::from("pause 1"));
    line(ask("settled", "status"));
    line(ask("show", &show));
    line(ask("shown", "status"));
    line(format!("tell rollback {name}"));
    line(ask("rolled", "status"));
}
