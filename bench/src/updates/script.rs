//! What the guest runs.

use std::fmt::Write;

use crate::updates::rows::Change;

/// Words for the kernel's command line: everything lies at the same places in every run.
pub const WORDS: &str = "nokaslr norandmaps randomize_kstack_offset=off";

/// Threads that sleep in the guest meanwhile.
pub const THREADS: u32 = 50;

/// Seconds that a transition of the kernel's own livepatch may take.
pub const TRANSITION_SECONDS: u32 = 60;

/// Rolled back patches stay loaded: they are put in force again without the kernel's loader.
/// `row NAME LUCOS LIVEPATCH COMMAND` measures one change, first under LUCOS. The modules are in
/// the first folder that has them.
const FUNCTIONS: &str = r#"
rmmod lucos && insmod /lib/modules/$(uname -r)/extra/lucos.ko unload_helper= || exit 1
echo kernel $(uname -r)
module() { [ -e /$1.ko ] && echo /$1.ko || echo /lib/lucos/modules/$1.ko; }
row() {
    parameter=$(lucos resolve $(module $2) /tmp/module) || exit 1
    echo $1.old $(eval "$4")
    updates lucos $1.lucos /tmp/module $2 "$parameter" "$4" || exit 1
    lucos resolve $(module $3) /tmp/module >/dev/null || exit 1
    updates livepatch $1.livepatch /tmp/module $3 $SECONDS_AT_MOST "$4" || exit 1
}
"#;

/// The script for these changes.
#[must_use]
pub fn script(changes: &[Change]) -> String {
    let mut text = String::from(FUNCTIONS);
    let mut add = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    add(format!("SECONDS_AT_MOST={TRANSITION_SECONDS}"));
    add(format!("figures threads {THREADS} >/tmp/threads &"));
    add(String::from("sleep 1; until grep -q ready /tmp/threads; do sleep 1; done"));
    for change in changes {
        match &change.needs {
            Some(path) if path.starts_with('/') => add(format!("insmod {path} || exit 1")),
            Some(name) => add(format!("modprobe {name} || exit 1")),
            None => {}
        }
        let mut line = String::new();
        let (lucos, livepatch) = (change.lucos(), change.livepatch());
        let command = change.sign.as_ref().map_or("", |sign| sign.command.as_str());
        let _ = write!(line, "row {} {lucos} {livepatch} '{command}'", change.name);
        add(line);
    }
    add(String::from("exit 0"));
    text
}

#[cfg(test)]
mod tests {
    use crate::updates::rows::changes;

    #[test]
    fn commands_cannot_leave_their_quotes() {
        let (_, rows) = changes().unwrap();
        for row in &rows {
            assert!(row.sign.iter().all(|sign| !sign.command.contains('\'')), "{}", row.name);
        }
        let script = super::script(&rows);
        let row = "row loop_driver loop_driver loop_driver_livepatch '";
        assert!(script.contains(&format!("\nmodprobe loop || exit 1\n{row}")));
    }
}
