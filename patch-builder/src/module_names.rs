//! The names that a kernel's own modules have. No patch can have one of them: the kernel loads no
//! second module of a name, and `insmod` says no more than "invalid argument".

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::error::{Error, at};
use crate::patch_module;
use crate::running::Running;
use crate::survey::dependencies::Modules;

/// What the symbols of the names of built-in modules' parameters begin with.
const PARAMETER: &str = "__param_str_";
/// What parameters without a module's name belong to.
const CORE: &str = "kernel";
/// Name of the update manager's module.
const MANAGER: &str = "lucos";

/// The names of a kernel's modules, with `_` for `-`.
pub struct ModuleNames {
    built_in: BTreeSet<String>,
    loadable: BTreeSet<String>,
}

impl ModuleNames {
    /// Reads them from the kernel and its `lib/modules/RELEASE` folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read(kernel: &dyn Running, modules: Option<&Path>) -> Result<Self, Error> {
        let mut names = Self { built_in: of_parameters(kernel), loadable: BTreeSet::new() };
        if let Some(folder) = modules {
            let list = folder.join("modules.builtin");
            let text = fs::read_to_string(&list).map_err(at(&list))?;
            names.built_in.extend(text.lines().filter_map(of_file));
            names.loadable = Modules::of(folder)?.names().map(str::to_owned).collect();
        }
        Ok(names)
    }

    /// Whether a patch can have this name.
    ///
    /// # Errors
    /// When a module of the kernel has it.
    pub fn check(&self, name: &str) -> Result<(), patch_module::Error> {
        let module = name.replace('-', "_");
        let owner = if module == MANAGER {
            "the update manager"
        } else if self.built_in.contains(&module) {
            "a part of the kernel"
        } else if self.loadable.contains(&module) {
            "a module of the kernel"
        } else {
            return Ok(());
        };
        Err(patch_module::Error::TakenName { name: name.to_owned(), owner })
    }
}

/// The name of a line such as `kernel/block/mq-deadline.ko`.
fn of_file(line: &str) -> Option<String> {
    let file = line.trim().rsplit('/').next()?;
    Some(file.strip_suffix(".ko")?.replace('-', "_"))
}

/// Parts of the kernel that are no modules have parameters too, and with them the name of a module:
/// `block.events_dfl_poll_msecs`.
fn of_parameters(kernel: &dyn Running) -> BTreeSet<String> {
    let names = kernel.symbols().iter().filter(|symbol| symbol.name.starts_with(PARAMETER));
    names
        .filter_map(|symbol| {
            let text = kernel.bytes_at(symbol.address)?.split(|byte| *byte == 0).next()?;
            let text = std::str::from_utf8(text).ok()?;
            let module = text.split_once('.').map_or(CORE, |(module, _)| module);
            Some(module.replace('-', "_"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Symbol, Symbols};

    struct Image(Symbols);

    impl Running for Image {
        fn name(&self) -> &str {
            "vmlinux"
        }
        fn symbols(&self) -> &Symbols {
            &self.0
        }
        fn bytes_at(&self, address: u64) -> Option<&[u8]> {
            b"block.poll\0printk.time\0quiet\0".get(usize::try_from(address).ok()?..)
        }
    }

    #[test]
    fn a_patch_cannot_have_the_name_of_a_module() {
        let symbol = |address, name: &str| Symbol { address, kind: b'd', name: name.to_owned() };
        let symbols = [(0, "__param_str_poll"), (11, "printk_time"), (23, "__param_str_quiet")];
        let symbols = symbols.map(|(address, name)| symbol(address, name));
        let kernel = Image(Symbols::new(symbols.into()));
        let folder = tempfile::tempdir().unwrap();
        let drivers = folder.path().join("kernel/drivers");
        fs::create_dir_all(&drivers).unwrap();
        fs::write(drivers.join("nd-pmem.ko.xz"), "").unwrap();
        fs::write(folder.path().join("modules.builtin"), "kernel/block/mq-deadline.ko\n").unwrap();
        let names = ModuleNames::read(&kernel, Some(folder.path())).unwrap();
        for (name, owner) in [
            ("block", "a part of the kernel"),
            ("kernel", "a part of the kernel"),
            ("mq_deadline", "a part of the kernel"),
            ("mq-deadline", "a part of the kernel"),
            ("nd_pmem", "a module of the kernel"),
            ("lucos", "the update manager"),
        ] {
            let error = names.check(name).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(owner), "{error}");
        }
        for name in ["block_fix", "printk", "patch"] {
            assert!(names.check(name).is_ok(), "{name}");
        }
        assert!(ModuleNames::read(&kernel, Some(&drivers)).is_err(), "it is no such folder");
    }
}
