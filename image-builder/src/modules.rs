//! Which of a kernel's modules go into the guest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files beside the modules that `depmod` reads.
const TABLES: [&str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// Why a kernel's modules cannot be chosen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// depmod did not work.
    #[error("depmod for {release}: {message}")]
    Depmod {
        /// The kernel's release.
        release: String,
        /// What it said.
        message: String,
    },
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

/// Makes the tables of `root/lib/modules/<release>` that `modprobe` reads.
///
/// # Errors
/// When depmod is missing or fails.
pub fn depmod(depmod: &Path, root: &Path, release: &str) -> Result<(), Error> {
    let failed = |message: String| Error::Depmod { release: release.to_owned(), message };
    let output = Command::new(depmod)
        .arg("-b")
        .arg(root)
        .arg(release)
        .output()
        .map_err(|source| failed(format!("{} does not start: {source}", depmod.display())))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Copies those modules of `from` (a `lib/modules/<release>` folder for which depmod has run)
/// whose path below `kernel/` begins with an entry of `list`, and all they depend on, to the
/// folder `to`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy_selected(from: &Path, list: &str, to: &Path) -> Result<(), Error> {
    let table = from.join("modules.dep");
    let text = fs::read_to_string(&table).map_err(file_error(&table))?;
    let mut files: Vec<String> = select(&text, list).into_iter().collect();
    files.extend(TABLES.map(str::to_owned));
    for file in files {
        let source = from.join(&file);
        if !source.exists() {
            continue;
        }
        let target = to.join(&file);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(file_error(folder))?;
        }
        fs::copy(&source, &target).map_err(file_error(&source))?;
    }
    Ok(())
}

/// The chosen modules with what they depend on. `dependencies` is a `modules.dep`, which lists
/// for each module everything it needs, not only the next.
fn select(dependencies: &str, list: &str) -> BTreeSet<String> {
    let entries: Vec<&str> = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|line| !line.is_empty())
        .collect();
    let table: BTreeMap<&str, &str> =
        dependencies.lines().filter_map(|line| line.split_once(':')).collect();
    let mut chosen = BTreeSet::new();
    for (module, needs) in table {
        let Some(path) = module.strip_prefix("kernel/") else {
            continue;
        };
        if entries.iter().any(|entry| path.starts_with(entry)) {
            chosen.insert(module.to_owned());
            chosen.extend(needs.split_whitespace().map(str::to_owned));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_along() {
        let table = "kernel/net/a.ko: kernel/lib/b.ko kernel/lib/c.ko\nkernel/lib/b.ko: kernel/lib/c.ko\n\
            kernel/lib/c.ko:\nkernel/lib/d.ko:\nextra/net/e.ko:\n";
        let chosen = select(table, "# comment\nnet/ # all of it\n\n");
        assert_eq!(
            chosen.into_iter().collect::<Vec<_>>(),
            ["kernel/lib/b.ko", "kernel/lib/c.ko", "kernel/net/a.ko"]
        );
    }

    #[test]
    fn an_empty_list_chooses_nothing() {
        assert!(select("kernel/a.ko:\n", "#\n\n").is_empty());
    }
}
