//! `cargo xtask lint` of what is not Rust: C and shell scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use lucos_debian_archive::kernel::Series;
use lucos_debian_archive::packages::{self, Consent, Need};

use crate::guest;
use crate::modules;
use crate::workspace::Workspace;

/// What compiles the programs of the guest.
const COMPILER: &str = "gcc-12";

const NEEDS: [Need; 3] = [
    Need { file: COMPILER, package: "gcc-12" },
    Need { file: "/usr/lib/x86_64-linux-gnu/libc.a", package: "libc6-dev" },
    Need { file: "shellcheck", package: "shellcheck" },
];

/// Folders below which kernel modules are, apart from the manager and the sample patches.
const MODULES: [&str; 3] = ["tests/guest-modules", "bench/guest-modules", "bench/update-modules"];

/// Where the programs of the guest are.
const PROGRAMS: &str = "tests/guest-programs";

/// Folders in which nothing is ours.
const FOREIGN: [&str; 2] = ["target", ".git"];

/// Every complaint about C and shell scripts, as lines to be printed. What a kernel's headers make
/// of a source may differ, so modules are compiled for both series.
///
/// # Errors
/// When a source does not compile, or a tool is not there and cannot be installed.
pub fn complaints(workspace: &Workspace, consent: Consent) -> Result<Vec<String>> {
    packages::ensure(&NEEDS, consent)?;
    let mut folders = Vec::new();
    for folder in MODULES {
        find(&workspace.root.join(folder), &|path| path.ends_with("Kbuild"), &mut folders)?;
    }
    let folders: Vec<PathBuf> =
        folders.iter().filter_map(|file| Some(file.parent()?.to_owned())).collect();
    let mut all = Vec::new();
    for series in [Series::Debian6_1, Series::Debian6_12] {
        eprintln!("the guest's modules for {series}");
        let kernel = guest::pinned(workspace, series)?;
        all.extend(modules::complaints(workspace, &kernel, &folders, consent)?);
    }
    eprintln!("the guest's programs");
    all.extend(programs(workspace)?);
    eprintln!("shell scripts");
    all.extend(scripts(workspace)?);
    Ok(all)
}

fn programs(workspace: &Workspace) -> Result<Vec<String>> {
    let mut sources = Vec::new();
    let is_c = |path: &Path| path.extension().is_some_and(|extension| extension == "c");
    find(&workspace.root.join(PROGRAMS), &is_c, &mut sources)?;
    let mut all = Vec::new();
    for source in sources {
        let mut command = Command::new(COMPILER);
        command.args(["-O2", "-Wall", "-Wextra", "-pthread", "-c", "-o", "/dev/null", "-I"]);
        command.arg(workspace.root.join("guest/include")).arg(&source);
        all.extend(said(&mut command)?);
    }
    Ok(all)
}

fn scripts(workspace: &Workspace) -> Result<Vec<String>> {
    let mut scripts = Vec::new();
    find(&workspace.root, &|path| is_script(path), &mut scripts)?;
    said(Command::new("shellcheck").arg("--format=gcc").args(scripts))
}

/// Whether a shell's name is in the first line, or is told to shellcheck.
fn is_script(path: &Path) -> bool {
    let Ok(text) = fs::read_to_string(path) else {
        return false;
    };
    let first = text.lines().next().unwrap_or_default();
    first.starts_with("# shellcheck shell=") || first.starts_with("#!") && first.ends_with("sh")
}

/// The files below a folder that are meant, in the order of their names.
fn find(folder: &Path, is_meant: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let is_foreign = FOREIGN.iter().any(|name| path.ends_with(name));
        if path.is_dir() && !path.is_symlink() && !is_foreign {
            find(&path, is_meant, found)?;
        } else if path.is_file() && is_meant(&path) {
            found.push(path);
        }
    }
    Ok(())
}

/// The lines that a program writes when it does not end well, or warns.
fn said(command: &mut Command) -> Result<Vec<String>> {
    let output = command
        .output()
        .with_context(|| format!("{} does not start", command.get_program().display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{find, is_script};

    #[test]
    fn scripts_are_known_by_their_first_line() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, expected) in [
            ("bash", "#!/usr/bin/env bash\n", true),
            ("sh", "#!/bin/sh\n", true),
            ("told", "# shellcheck shell=sh\n", true),
            ("python", "#!/usr/bin/env python3\n", false),
            ("text", "a word about sh\n", false),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            assert_eq!(is_script(&path), expected, "{name}");
        }
    }

    #[test]
    fn what_is_built_is_not_searched() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/target/x", "a/b/x", "x", "y"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut found = Vec::new();
        find(folder.path(), &|path| path.ends_with("x"), &mut found).unwrap();
        assert_eq!(found, ["a/b/x", "x"].map(|name| folder.path().join(name)));
    }
}
