//! Which objects the kernel's makefiles compile with its configuration.
//!
//! The build system compiles any file that it is asked for, so its makefiles are asked instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::Error;
use crate::make::Make;

/// Reads the makefile of a folder and prints the objects that it names, those of which others are
/// made included.
const QUERY: &str = "\
include include/config/auto.conf
include scripts/Kbuild.include
src := $(obj)
include $(firstword $(wildcard $(obj)/Kbuild $(obj)/Makefile))
parts = $(foreach o,$(1),$($(o:.o=-objs)) $($(o:.o=-y)) $($(o:.o=-m)))
first := $(obj-y) $(obj-m) $(lib-y) $(lib-m)
second := $(call parts,$(first))
third := $(call parts,$(second))
.DEFAULT_GOAL := lucos-objects
.PHONY: lucos-objects
lucos-objects: ; @:
$(info lucos-objects: $(first) $(second) $(third))
";
const MARK: &str = "lucos-objects: ";

/// Of some objects those that a prepared tree's configuration compiles.
///
/// # Errors
/// When make does not start or a makefile cannot be read.
pub fn compiled(root: &Path, objects: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
    let mut makefiles = Makefiles::new(root);
    let mut found = BTreeSet::new();
    for object in objects {
        if makefiles.compiles(object)? {
            found.insert(object.clone());
        }
    }
    Ok(found)
}

/// The makefiles of a prepared tree, each asked once.
pub struct Makefiles<'a> {
    root: &'a Path,
    asked: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Makefiles<'a> {
    /// Of a tree.
    #[must_use]
    pub fn new(root: &'a Path) -> Self {
        Self { root, asked: BTreeMap::new() }
    }

    /// The folder whose makefile names an object, or a folder with `/` at its end: its own or one
    /// of the two above.
    ///
    /// # Errors
    /// When make does not start or a makefile cannot be read.
    pub fn name(&mut self, what: &str) -> Result<Option<String>, Error> {
        for folder in Path::new(what).ancestors().skip(1).take(3) {
            let folder = folder.to_string_lossy().into_owned();
            let has_makefile = ["Kbuild", "Makefile"]
                .iter()
                .any(|name| self.root.join(&folder).join(name).exists());
            if folder.is_empty() || !has_makefile {
                continue;
            }
            if !self.asked.contains_key(&folder) {
                self.asked.insert(folder.clone(), ask(self.root, &folder)?);
            }
            if self.asked.get(&folder).is_some_and(|names| names.contains(what)) {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// Whether a build of the whole kernel compiles an object: a makefile names it, and the build
    /// comes to that makefile.
    ///
    /// # Errors
    /// When make does not start or a makefile cannot be read.
    pub fn compiles(&mut self, object: &str) -> Result<bool, Error> {
        match self.name(object)? {
            None => Ok(false),
            Some(folder) => self.enters(&folder),
        }
    }

    /// Whether a build of the whole kernel comes into a folder.
    ///
    /// # Errors
    /// When make does not start or a makefile cannot be read.
    pub fn enters(&mut self, folder: &str) -> Result<bool, Error> {
        let mut folder = folder.to_owned();
        loop {
            if is_top(&folder) {
                return Ok(true);
            }
            match self.name(&format!("{folder}/"))? {
                None => return Ok(false),
                Some(above) => folder = above,
            }
        }
    }
}

/// The folders that the kernel's topmost makefiles name.
fn is_top(folder: &str) -> bool {
    let top = [
        "arch/x86", "block", "certs", "crypto", "drivers", "fs", "init", "io_uring", "ipc",
        "kernel", "lib", "mm", "net", "security", "sound", "virt",
    ];
    let of_arch = ["lib", "pci", "power", "video"];
    top.contains(&folder)
        || folder.strip_prefix("arch/x86/").is_some_and(|part| of_arch.contains(&part))
}

/// The objects and folders that a folder's makefile names, by their paths in the tree.
fn ask(root: &Path, folder: &str) -> Result<BTreeSet<String>, Error> {
    let query = tempfile::NamedTempFile::new()
        .and_then(|file| std::fs::write(file.path(), QUERY).map(|()| file))
        .map_err(|source| Error::File { path: std::env::temp_dir(), source })?;
    let output = Make::new(root)
        .variable("obj", folder)
        .variable("srctree", ".")
        .variable("objtree", ".")
        .variable("SRCARCH", "x86")
        .variable("ARCH", "x86")
        .variable("BITS", "64")
        .output(&["-s", "-f", &query.path().to_string_lossy()])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(names) = text.lines().find_map(|line| line.strip_prefix(MARK)) else {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Program { program: format!("make for {folder}"), message });
    };
    Ok(names
        .split_whitespace()
        .filter(|name| name.ends_with(['o', '/']))
        .map(|name| format!("{folder}/{name}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_configuration_chooses_is_compiled() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        write("include/config/auto.conf", "CONFIG_A=y\nCONFIG_B=m\n");
        write("scripts/Kbuild.include", "");
        write(
            "net/Makefile",
            "obj-$(CONFIG_A) += one.o\nobj-$(CONFIG_B) += two.o\nobj-$(CONFIG_C) += three.o\n\
             two-y := part.o below/deep.o\n",
        );
        let objects = ["one", "two", "three", "part", "below/deep"]
            .map(|name| format!("net/{name}.o"))
            .into_iter()
            .collect();
        let found = compiled(folder.path(), &objects).unwrap();
        let names: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(names, ["net/below/deep.o", "net/one.o", "net/part.o", "net/two.o"]);
    }

    #[test]
    fn folders_are_entered_when_all_above_them_are() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        write("include/config/auto.conf", "CONFIG_A=y\n");
        write("scripts/Kbuild.include", "");
        write("drivers/Makefile", "obj-$(CONFIG_A) += a/\nobj-$(CONFIG_B) += b/\nobj-y += c/d/\n");
        write("drivers/a/Makefile", "obj-y += x/\n");
        write("drivers/b/Makefile", "obj-y += x/\n");
        let mut makefiles = Makefiles::new(folder.path());
        for (place, expected) in [("a/x", true), ("b/x", false), ("b", false), ("c/d", true)] {
            let entered = makefiles.enters(&format!("drivers/{place}")).unwrap();
            assert_eq!(entered, expected, "{place}");
        }
        // Each makefile names its object, but the build does not come to all of them.
        for place in ["a/x", "b/x"] {
            write(&format!("drivers/{place}/Makefile"), "obj-y += ldt.o\n");
        }
        let objects = ["a/x", "b/x"].map(|place| format!("drivers/{place}/ldt.o"));
        let found = compiled(folder.path(), &objects.into_iter().collect()).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["drivers/a/x/ldt.o"]);
    }
}
