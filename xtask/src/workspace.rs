//! Where things are: the source tree, cargo's target folder and the download cache.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// The folders that every verb works with.
pub struct Workspace {
    /// The root of the source tree.
    pub root: PathBuf,
    /// Cargo's target folder, wherever the user's settings put it.
    pub target: PathBuf,
    /// What survives `cargo clean` and serves every checkout: sysroots, downloaded packages.
    pub cache: PathBuf,
}

impl Workspace {
    /// Finds the folders: those of the source tree in which we are started, which need not be the
    /// one in which we were compiled.
    ///
    /// # Errors
    /// When we are started in none, when cargo does not describe it, or no home folder is known.
    pub fn locate() -> Result<Self> {
        let started_by_cargo = env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == "xtask");
        let package = env::var_os("CARGO_MANIFEST_DIR").filter(|_| started_by_cargo);
        // A copied tree has a copied program.
        let places = [package.map(PathBuf::from), env::current_dir().ok(), env::current_exe().ok()];
        let root = places.iter().flatten().find_map(|place| root_around(place)).context(
            "this is not in LUCOS's source tree: run it in a folder of the tree that is meant",
        )?;
        let metadata: Metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            // Where settings of cargo are looked for.
            .current_dir(&root)
            .no_deps()
            .exec()
            .context("cargo does not describe the workspace")?;
        Ok(Self {
            root: metadata.workspace_root.into(),
            target: metadata.target_directory.into(),
            cache: cache_folder()?.join("lucos"),
        })
    }

    /// The cargo that started us, set to work in the source tree.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(&self.root);
        command
    }
}

/// The source tree that a place is in.
fn root_around(place: &Path) -> Option<PathBuf> {
    let is_root = |folder: &&Path| {
        ["Cargo.toml", "system.toml", "xtask/Cargo.toml"]
            .iter()
            .all(|file| folder.join(file).is_file())
    };
    place.ancestors().find(is_root).map(Path::to_owned)
}

/// The cargo that started us, else the one in `PATH`.
pub fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn cache_folder() -> Result<PathBuf> {
    let absolute =
        |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME names a folder")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::root_around;

    #[test]
    fn a_tree_is_found_from_every_place_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        for file in ["Cargo.toml", "system.toml", "xtask/Cargo.toml", "fuzz/Cargo.toml"] {
            let file = tree.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        for place in ["", "xtask", "fuzz", "target/debug/xtask"] {
            assert_eq!(root_around(&tree.join(place)).as_ref(), Some(&tree), "{place}");
        }
        assert_eq!(root_around(folder.path()), None);
        fs::remove_file(tree.join("system.toml")).unwrap();
        assert_eq!(root_around(&tree), None, "another project with an xtask");
    }
}
