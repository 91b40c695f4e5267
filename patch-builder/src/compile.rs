//! Compiles the objects that a change touches, without it and with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, at};
use crate::kernel_tree::KernelTree;

/// What the differ needs: a section for each function and each variable.
const FLAGS: &str = "-ffunction-sections -fdata-sections";

/// An object, compiled.
#[derive(Debug, Clone)]
pub struct Object {
    /// Path in the source tree, such as `mm/mremap.o`.
    pub path: String,
    /// The ELF file's bytes.
    pub bytes: Vec<u8>,
    /// The module it is part of, such as `drivers/block/loop`; `None` for the kernel image.
    pub module: Option<String>,
}

/// Compiles objects as they are in the kernel's package; the results are cached.
///
/// # Errors
/// When one does not compile.
pub fn original(
    tree: &KernelTree,
    paths: &BTreeSet<String>,
) -> Result<BTreeMap<String, Object>, Error> {
    let cache = tree.objects();
    let missing: Vec<&str> =
        paths.iter().map(String::as_str).filter(|path| !cache.join(path).exists()).collect();
    if !missing.is_empty() {
        compile(tree, &missing, "without the change")?;
        for path in missing {
            let Some(folder) = cache.join(path).parent().map(Path::to_path_buf) else {
                continue;
            };
            fs::create_dir_all(&folder).map_err(at(&folder))?;
            copy(&tree.root().join(command_file(path)), &cache.join(command_file(path)))?;
            // Last: it says that the rest is there.
            copy(&tree.root().join(path), &cache.join(path))?;
        }
    }
    load(&cache, paths.iter().map(String::as_str))
}

/// Compiles objects in the tree as it is now.
///
/// # Errors
/// When one does not compile.
pub fn changed(
    tree: &KernelTree,
    paths: &BTreeSet<String>,
) -> Result<BTreeMap<String, Object>, Error> {
    let wanted: Vec<&str> = paths.iter().map(String::as_str).collect();
    compile(tree, &wanted, "with the change")?;
    load(&tree.root(), wanted.into_iter())
}

fn compile(tree: &KernelTree, paths: &[&str], with: &'static str) -> Result<(), Error> {
    let root = tree.root();
    for path in paths {
        // Times tell make nothing when a file is put back.
        for file in [root.join(path), root.join(command_file(path))] {
            if file.exists() {
                fs::remove_file(&file).map_err(at(&file))?;
            }
        }
    }
    let output = tree.make().variable("KCFLAGS", FLAGS).output(&[&["-k"], paths].concat())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    match paths.iter().find(|path| !root.join(path).exists()) {
        None => Ok(()),
        Some(path) => {
            Err(Error::Compile { object: (*path).to_owned(), with, message: first_errors(&errors) })
        }
    }
}

/// The compiler's messages without what explains them.
fn first_errors(errors: &str) -> String {
    const SHOWN: usize = 5;
    let lines: Vec<&str> =
        errors.lines().filter(|line| line.contains("error:")).take(SHOWN).collect();
    if lines.is_empty() { errors.trim().to_owned() } else { lines.join("\n") }
}

fn load<'a>(
    folder: &Path,
    paths: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, Object>, Error> {
    let mut objects = BTreeMap::new();
    for path in paths {
        let file = folder.join(path);
        let commands = folder.join(command_file(path));
        let text = fs::read_to_string(&commands).map_err(at(&commands))?;
        let bytes = fs::read(&file).map_err(at(&file))?;
        let object = Object { path: path.to_owned(), bytes, module: module_of(path, &text) };
        objects.insert(path.to_owned(), object);
    }
    Ok(objects)
}

/// The module that an object is part of, from the command that compiled it. Where that gives no
/// more than a name, the module lies in the object's folder.
fn module_of(path: &str, commands: &str) -> Option<String> {
    let command = commands.lines().next()?;
    if !command.split_whitespace().any(|word| word == "-DMODULE") {
        return None;
    }
    let value = |key: &str| {
        let (_, rest) = command.split_once(&format!("-D{key}='\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    value("KBUILD_MODFILE").or_else(|| {
        let name = value("KBUILD_MODNAME")?;
        Some(Path::new(path).with_file_name(name).to_string_lossy().into_owned())
    })
}

/// Where the build system notes how it made a file.
fn command_file(path: &str) -> PathBuf {
    let path = Path::new(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.cmd"))
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map(|_| ()).map_err(at(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_in_the_command() {
        let built_in = "cmd_mm/mremap.o := gcc-12 -DKBUILD_MODFILE='\"mm/mremap\"' -c";
        assert_eq!(module_of("mm/mremap.o", built_in), None);
        let module =
            "savedcmd_x.o := gcc-12  -DMODULE  -DKBUILD_MODFILE='\"net/netfilter/nf_tables\"' -c";
        let found = module_of("net/netfilter/x.o", module);
        assert_eq!(found.as_deref(), Some("net/netfilter/nf_tables"));
        let newer = "savedcmd_x.o := gcc-12  -DMODULE  -DKBUILD_MODNAME='\"nf_tables\"' -c";
        let found = module_of("net/netfilter/nft_bitwise.o", newer);
        assert_eq!(found.as_deref(), Some("net/netfilter/nf_tables"));
    }

    #[test]
    fn notes_stand_beside_the_object() {
        assert_eq!(command_file("mm/mremap.o"), Path::new("mm/.mremap.o.cmd"));
    }
}
