//! Which changes the table has.

use std::path::Path;

use lucos_patch_builder::manifest::{Manifest, Sign};
use serde::Serialize;

/// The fixes of the distribution, as the tests know them: name and text.
const FIXES: (&str, &str) =
    ("tests/fixes/debian-6.1.toml", include_str!("../../../tests/fixes/debian-6.1.toml"));

/// Times of the paper, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Paper {
    /// To put the update in force.
    pub apply: u32,
    /// To take it back.
    pub rollback: u32,
}

/// How the modules of a change come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The builder makes both of the same new code.
    Built {
        /// Files of the distribution's newer source.
        files: Vec<String>,
        /// What of them; none for all that differs.
        functions: Vec<String>,
    },
    /// They are among the modules in `bench/update-modules`.
    Written,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The patch's name, and that of the module for livepatch with `_livepatch` behind it; a
    /// written one has `_lucos` in its place.
    pub name: String,
    /// What it is, for a person.
    pub title: String,
    /// Where its modules come from.
    pub origin: Origin,
    /// How many functions differ in the objects.
    pub functions: usize,
    /// The module that has to be loaded for it, as `modprobe` or `insmod` takes it.
    pub needs: Option<String>,
    /// What tells old from new code.
    pub sign: Option<Sign>,
    /// The row of the paper that it is today's counterpart of.
    pub paper: Option<Paper>,
}

impl Change {
    /// Name of the module for LUCOS.
    #[must_use]
    pub fn lucos(&self) -> String {
        match self.origin {
            Origin::Built { .. } => self.name.clone(),
            Origin::Written => format!("{}_lucos", self.name),
        }
    }

    /// Name of the module for the kernel's own livepatch.
    #[must_use]
    pub fn livepatch(&self) -> String {
        format!("{}_livepatch", self.name)
    }
}

/// A row that is made of fixes: its name, what it is, the fixes, its counterpart in the paper.
type Fixed = (&'static str, &'static str, &'static [&'static str], Option<Paper>);

const FIXED: [Fixed; 4] = [
    (
        "memory",
        "memory: a leak in mremap",
        &["mremap_locked"],
        Some(Paper { apply: 21_426, rollback: 19_663 }),
    ),
    (
        "livelock",
        "network: a queue that never ends",
        &["packet_length"],
        Some(Paper { apply: 14_916, rollback: 13_113 }),
    ),
    (
        "scheduler",
        "scheduler: three fixes",
        &["deboosted_task", "push_tasks", "deadline_task"],
        Some(Paper { apply: 23_715, rollback: 22_041 }),
    ),
    (
        // The kernel has a built-in module "block".
        "loop_driver",
        "block driver: the loop device's block size",
        &["loop_block_size"],
        Some(Paper { apply: 42_900, rollback: 36_330 }),
    ),
];

/// The rows of the table, and the versions that they are about.
///
/// # Errors
/// When the manifest of fixes does not have what they need.
pub fn changes() -> Result<(Manifest, Vec<Change>), String> {
    let (file, text) = FIXES;
    let manifest = Manifest::parse(Path::new(file), text).map_err(|error| error.to_string())?;
    let mut rows =
        FIXED.iter().map(|fixed| built(&manifest, fixed)).collect::<Result<Vec<_>, _>>()?;
    rows.extend(written());
    Ok((manifest, rows))
}

fn built(manifest: &Manifest, (name, title, fixes, paper): &Fixed) -> Result<Change, String> {
    let mut change = Change {
        name: (*name).to_owned(),
        title: (*title).to_owned(),
        origin: Origin::Written,
        functions: 0,
        needs: None,
        sign: None,
        paper: *paper,
    };
    let (mut files, mut functions) = (Vec::new(), Vec::new());
    for wanted in *fixes {
        let fix = manifest.fixes.iter().find(|fix| fix.name == *wanted);
        let fix = fix.ok_or_else(|| format!("the manifest has no fix {wanted}"))?;
        if fix.functions.is_empty() && fixes.len() > 1 {
            return Err(format!("{wanted} names no functions, so nothing can stand beside it"));
        }
        files.extend(fix.files.iter().cloned());
        functions.extend(fix.functions.iter().cloned());
        change.functions += fix.changes.len();
        change.needs = change.needs.or_else(|| fix.module.clone());
        change.sign = change.sign.or_else(|| fix.sign.clone());
    }
    change.origin = Origin::Built { files, functions };
    Ok(change)
}

/// Whether a module counts calls of memcpy.
const COPIES: &str = "cat /sys/module/copy_*/parameters/calls 2>/dev/null | grep -c [1-9]";

/// What the kernel's own livepatch cannot do.
fn written() -> [Change; 2] {
    let sign = |command: &str, old: &str, new: &str| {
        Some(Sign { command: command.into(), old: old.into(), new: new.into() })
    };
    [
        Change {
            name: String::from("waiter"),
            title: String::from("a thread that never leaves the function"),
            origin: Origin::Written,
            functions: 1,
            needs: Some(String::from("/lib/lucos/modules/waiter.ko")),
            sign: sign("cat /sys/module/waiter/parameters/answer", "old", "new"),
            paper: None,
        },
        Change {
            name: String::from("copy"),
            title: String::from("a function without an ftrace slot (memcpy)"),
            origin: Origin::Written,
            functions: 1,
            needs: None,
            sign: sign(COPIES, "0", "1"),
            paper: None,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::{Origin, changes};

    #[test]
    fn every_row_finds_its_fixes() {
        let (_, rows) = changes().unwrap();
        let functions: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.functions)).collect();
        let expected = [("memory", 2), ("livelock", 1), ("scheduler", 3), ("loop_driver", 1)];
        assert_eq!(functions[..4], expected);
        for row in &rows {
            assert!(row.sign.is_some(), "{} cannot be seen to be in force", row.name);
            if let Origin::Built { files, .. } = &row.origin {
                assert!(!files.is_empty(), "{}", row.name);
            }
        }
    }
}
