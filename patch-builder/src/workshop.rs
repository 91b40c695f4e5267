//! Where modules are linked, by the kernel's build system.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::error::{self, at};
use crate::files::copy;
use crate::flags::WITHOUT_TAIL_CALLS;
use crate::livepatch_module;
use crate::make::Make;
use crate::patch_module::{Error, PatchModule, Redirector, check_name};
use crate::programs::run;

/// The header of patches, and those that it includes.
const HEADERS: [(&str, &str); 8] = [
    ("lucos/patch.h", include_str!("../../guest/include/lucos/patch.h")),
    ("lucos/data.h", include_str!("../../guest/include/lucos/data.h")),
    ("lucos/interface.h", include_str!("../../guest/include/lucos/interface.h")),
    ("lucos/descriptor.h", include_str!("../../guest/include/lucos/descriptor.h")),
    ("lucos/errors.h", include_str!("../../guest/include/lucos/errors.h")),
    ("lucos/patch_module.h", include_str!("../../guest/include/lucos/patch_module.h")),
    ("lucos/reply.h", include_str!("../../guest/include/lucos/reply.h")),
    ("lucos/status.h", include_str!("../../guest/include/lucos/status.h")),
];

/// Says to the header of patches that the code of the module is compiled without tail calls.
const MARK: &str = "LUCOS_NO_TAIL_CALLS";

/// Builds one module against a kernel's headers and writes it to `output`. `symbols` is the
/// `Module.symvers` of an update manager built for that kernel; without it the `lucos` command
/// finds the manager by its symbols.
///
/// # Errors
/// When a name is not allowed, there are too many functions, or the module does not link.
pub fn build(
    patch: &PatchModule<'_>,
    headers: &Path,
    symbols: Option<&Path>,
    output: &Path,
) -> Result<(), error::Error> {
    let mut workshop = Workshop::new()?;
    workshop.add(patch)?;
    workshop.link(headers, symbols)?;
    workshop.take(patch, output)
}

/// A folder in which modules are linked, all at once.
pub struct Workshop {
    folder: TempDir,
    makefile: String,
}

impl Workshop {
    /// An empty one.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new() -> Result<Self, error::Error> {
        let folder =
            tempfile::tempdir().map_err(at(Path::new("the folder for temporary files")))?;
        let workshop = Self {
            folder,
            makefile: format!("ccflags-y := -I$(src) {WITHOUT_TAIL_CALLS} -D{MARK}\n"),
        };
        let headers = workshop.folder.path().join("lucos");
        fs::create_dir(&headers).map_err(at(&headers))?;
        for (name, text) in HEADERS {
            workshop.write(name, text.as_bytes())?;
        }
        Ok(workshop)
    }

    /// Adds the parts of a module whose name no other one has.
    ///
    /// # Errors
    /// When a name is not allowed or there are too many functions.
    pub fn add(&mut self, patch: &PatchModule<'_>) -> Result<(), error::Error> {
        check_name(patch.name)?;
        let source = match patch.redirector {
            Redirector::Lucos => patch.source()?,
            Redirector::Livepatch => livepatch_module::source(patch),
        };
        let module = patch.module();
        self.write(&format!("{module}_tables.c"), source.as_bytes())?;
        let mut parts = format!("{module}_tables.o");
        for (number, payload) in patch.payloads.iter().enumerate() {
            let name = format!("{module}_code{number}.o");
            self.write(&format!("{name}_shipped"), payload)?;
            // The build system reads the note of how each part was made.
            self.write(&format!(".{name}.cmd"), format!("cmd_{name} := shipped\n").as_bytes())?;
            let _ = write!(parts, " {name}");
        }
        let _ = writeln!(self.makefile, "obj-m += {module}.o\n{module}-y := {parts}");
        Ok(())
    }

    /// Links all modules.
    ///
    /// # Errors
    /// When one does not link.
    pub fn link(&self, headers: &Path, symbols: Option<&Path>) -> Result<(), error::Error> {
        self.write("Kbuild", self.makefile.as_bytes())?;
        let mut make = Make::new(headers)
            .variable("M", &self.folder.path().to_string_lossy())
            // What nobody reads here.
            .variable("CONFIG_DEBUG_INFO_BTF_MODULES", "")
            // A patch uses what the kernel does not export: `lucos` resolves it.
            .variable("KBUILD_MODPOST_WARN", "1");
        if let Some(symbols) = symbols {
            make = make.variable("KBUILD_EXTRA_SYMBOLS", &symbols.to_string_lossy());
        }
        let output = make.output(&["modules"])?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Link(message).into())
    }

    /// Copies a linked module to its place.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn take(&self, patch: &PatchModule<'_>, output: &Path) -> Result<(), error::Error> {
        let built = self.folder.path().join(format!("{}.ko", patch.module()));
        run(Command::new("strip").arg("--strip-debug").arg(&built))?;
        copy(&built, output)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), error::Error> {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).map_err(at(&path))
    }
}
