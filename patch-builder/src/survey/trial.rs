//! Whether patches do their work in a guest: each is applied and rolled back.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::kernel_log::COMPLAINTS;

/// Where the guest has the patches, `NAME.ko` each.
pub const PATCHES: &str = "/survey/patches";
/// Where the guest has modules that patches are for, `NAME.ko` each.
pub const MODULES: &str = "/survey/modules";

/// A patch that is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Name of the patch.
    pub patch: String,
    /// Modules that must be there, each after those that it depends on.
    pub modules: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Applied and rolled back, and the kernel did not complain.
    Good,
    /// The machine has not what this module needs.
    NotLoadable(String),
    /// Something went wrong.
    Failed(String),
}

/// A try of a patch of the sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The changed file.
    pub file: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// The patches to try next, of all in the order in which they are drawn: as many as are missing
/// until `count` were tried, those left aside that the machine cannot load.
#[must_use]
pub fn next<'a>(
    order: &[&'a str],
    outcomes: &BTreeMap<String, Outcome>,
    count: usize,
) -> Vec<&'a str> {
    let is_loadable = |outcome: &&Outcome| !matches!(outcome, Outcome::NotLoadable(_));
    let missing = count.saturating_sub(outcomes.values().filter(is_loadable).count());
    let open = order.iter().copied().filter(|patch| !outcomes.contains_key(*patch));
    open.take(missing).collect()
}

/// `try NAME MODULE...` prints one line.
const FUNCTIONS: &str = r#"
complaints() { COMPLAINTS | wc -l; }
told() { echo "survey $1 $2 $(echo "$3" | tr '\n' ' ')"; }
state() { lucos list | awk -v name="$1" '$1 == name { print $2 }'; }
work() { ls -R /proc/self /sys/class >/dev/null 2>&1; cat /proc/net/* /proc/stat >/dev/null 2>&1; ls -l / | sort | tail -1 >/dev/null; }
try() {
    patch=$1; shift
    echo "survey $patch begins"
    for module in "$@"; do
        grep -q "^$module " /proc/modules && continue
        said=$(insmod MODULES/$module.ko 2>&1)
        grep -q "^$module " /proc/modules || { told $patch absent "$module: $said"; return; }
    done
    before=$(complaints)
    said=$(lucos apply PATCHES/$patch.ko 2>&1) || { told $patch failed "$said"; return; }
    [ "$(state $patch)" = applied ] || { told $patch failed "it is not applied: $(lucos list)"; return; }
    work
    said=$(lucos rollback $patch 2>&1) || { told $patch failed "$said"; return; }
    for i in $(seq 50); do
        case "$(state $patch)" in ""|kept) break ;; esac
        usleep 100000
    done
    case "$(state $patch)" in
    ""|draining|kept) ;;
    *) told $patch failed "it is not rolled back: $(lucos list)"; return ;;
    esac
    work
    [ "$(complaints)" = "$before" ] || { told $patch failed "the kernel complains: $(dmesg | tail -30)"; return; }
    told $patch good ""
}
"#;

/// What the guest's shell does.
#[must_use]
pub fn script(trials: &[Trial]) -> String {
    let mut text = FUNCTIONS
        .replace("MODULES", MODULES)
        .replace("PATCHES", PATCHES)
        .replace("COMPLAINTS", COMPLAINTS);
    for trial in trials {
        let _ = writeln!(text, "try {} {}", trial.patch, trial.modules.join(" "));
    }
    text
}

/// What came of the patches that the script told of. One that was begun and is not told of is the
/// one with which the machine ended.
#[must_use]
pub fn outcomes(output: &str) -> BTreeMap<String, Outcome> {
    let mut outcomes = BTreeMap::new();
    for line in output.lines() {
        let mut words = line.splitn(4, ' ');
        if words.next() != Some("survey") {
            continue;
        }
        let (Some(patch), Some(what)) = (words.next(), words.next()) else {
            continue;
        };
        let said = words.next().unwrap_or_default().trim().to_owned();
        let outcome = match what {
            "good" => Outcome::Good,
            "absent" => Outcome::NotLoadable(said),
            "failed" => Outcome::Failed(said),
            _ => Outcome::Failed(String::from("the machine ended meanwhile")),
        };
        outcomes.insert(patch.to_owned(), outcome);
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_about_a_patch_counts() {
        let text = "survey a begins\nsurvey a good \nsurvey b begins\n\
                    survey b absent kvm_amd: not here\nx\nsurvey c begins\n\
                    survey c failed lucos: no\nsurvey d begins\nsur";
        let outcomes = outcomes(text);
        assert_eq!(outcomes["a"], Outcome::Good);
        assert_eq!(outcomes["b"], Outcome::NotLoadable("kvm_amd: not here".into()));
        assert_eq!(outcomes["c"], Outcome::Failed("lucos: no".into()));
        assert!(matches!(outcomes["d"], Outcome::Failed(_)));
    }

    #[test]
    fn another_one_is_drawn_for_each_that_cannot_be_loaded() {
        let order = ["d", "a", "c", "b", "e"];
        let mut outcomes = BTreeMap::new();
        assert_eq!(next(&order, &outcomes, 3), ["d", "a", "c"]);
        outcomes.insert("d".into(), Outcome::Good);
        outcomes.insert("a".into(), Outcome::NotLoadable("x".into()));
        outcomes.insert("c".into(), Outcome::Failed("y".into()));
        assert_eq!(next(&order, &outcomes, 3), ["b"]);
        assert_eq!(next(&order, &outcomes, 9), ["b", "e"]);
        assert_eq!(next(&order, &outcomes, 2), [""; 0]);
    }

    #[test]
    fn modules_are_loaded_in_order() {
        let modules = vec!["libcrc32c".to_owned(), "nf_tables".to_owned()];
        let text = script(&[Trial { patch: "p".into(), modules }]);
        assert!(text.ends_with("\ntry p libcrc32c nf_tables\n"), "{text}");
        assert!(text.contains("insmod /survey/modules/$module.ko"));
    }
}
