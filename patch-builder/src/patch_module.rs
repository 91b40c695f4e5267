//! Makes the module: the new code, and the tables that `guest/include/lucos/patch.h` defines,
//! linked by the kernel's build system. With other tables it is one for the kernel's own livepatch.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use lucos_guest_interface::patch_module::MAX_KEPT;
use lucos_object_diff::{BootShifts, CopiedKey};
use tempfile::TempDir;

use crate::compile::copy;
use crate::error::at;
use crate::kept::Kept;
use crate::kernel_tree::run;
use crate::livepatch_module;
use crate::make::Make;
use crate::preparation;
use crate::references::Used;
use crate::run_pre::Expected;

const PATCH_HEADER: &str = include_str!("../../guest/include/lucos/patch.h");
const INTERFACE_HEADER: &str = include_str!("../../guest/include/lucos/interface.h");

/// Most functions of a patch.
const FUNCTIONS: usize = 64;
/// Most bytes of a name, its terminator left out.
const NAME: usize = 63;
/// Most bytes of a description, its terminator left out.
const DESCRIPTION: usize = 127;
/// Stands for what is left out.
const ELLIPSIS: &str = "...";

/// Why no module can be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name cannot be that of a module.
    #[error("{0:?} is no name for a patch: 1 to 55 letters, digits, - or _")]
    Name(String),
    /// A module has the name.
    #[error(
        "a patch cannot be called {name}: {owner} has that name already, and two modules of one \
         name cannot be there; write it to a file of another name"
    )]
    TakenName {
        /// The name.
        name: String,
        /// What has it.
        owner: &'static str,
    },
    /// Too many functions.
    #[error("{0} functions change, a patch has at most {FUNCTIONS}: split it")]
    TooMany(usize),
    /// A function's name is too long.
    #[error("the name of {0} is longer than {NAME} bytes")]
    LongName(String),
    /// The kernel's build system refuses.
    #[error("the module does not link:\n{0}")]
    Link(String),
}

/// A function to redirect.
#[derive(Debug, Clone)]
pub struct Replaced {
    /// The old one.
    pub old: Used,
    /// Global symbol of the new one.
    pub new_symbol: String,
    /// What must stand at the site.
    pub expected: Option<Expected>,
}

/// Who redirects the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirector {
    /// LUCOS.
    Lucos,
    /// The kernel's own livepatch, for comparing the two.
    Livepatch,
}

/// What becomes a module.
#[derive(Debug)]
pub struct PatchModule<'a> {
    /// Who it is for.
    pub redirector: Redirector,
    /// Name of the patch, and of the module with `_` for `-`.
    pub name: &'a str,
    /// What it does and where it comes from.
    pub description: &'a str,
    /// The kernel's build id.
    pub build_id: &'a [u8],
    /// Cut-outs of the patched objects.
    pub payloads: &'a [Vec<u8>],
    /// The functions.
    pub functions: &'a [Replaced],
    /// Keys of jump labels that get the state of the kernel's before the patch is applied.
    pub keys: &'a [CopiedKey],
    /// Numbers of bits to shift by that are filled in before the patch is applied.
    pub shifts: &'a [BootShifts],
    /// Name spaces of exported symbols that it uses.
    pub spaces: &'a BTreeSet<String>,
    /// What the kernel may go on using after a rollback.
    pub kept: &'a [Kept],
}

impl PatchModule<'_> {
    /// Builds the module against a kernel's headers and writes it to `output`. `symbols` is the
    /// `Module.symvers` of an update manager built for that kernel; without it the `lucos` command
    /// finds the manager by its symbols.
    ///
    /// # Errors
    /// When a name is not allowed, there are too many functions, or the module does not link.
    pub fn build(
        &self,
        headers: &Path,
        symbols: Option<&Path>,
        output: &Path,
    ) -> Result<(), crate::Error> {
        let mut workshop = Workshop::new()?;
        workshop.add(self)?;
        workshop.link(headers, symbols)?;
        workshop.take(self, output)
    }

    /// The name of the module.
    fn module(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The C file with the tables.
    fn source(&self) -> Result<String, Error> {
        if self.functions.len() > FUNCTIONS {
            return Err(Error::TooMany(self.functions.len()));
        }
        let mut text =
            String::from("// SPDX-License-Identifier: GPL-2.0\n#include <lucos/patch.h>\n");
        for function in self.functions {
            if function.old.name.len() > NAME || function.old.object.len() > NAME {
                return Err(Error::LongName(function.old.name.clone()));
            }
            function.write_entry(&mut text);
        }
        for function in self.functions.iter().filter(|function| self.is_unique(function)) {
            if let Some(expected) = &function.expected {
                write_expected(&mut text, &function.old.name, expected);
            }
        }
        write_kept(&mut text, self.kept);
        text += &self.imports();
        if !self.keys.is_empty() || !self.shifts.is_empty() {
            preparation::write(&mut text, self.keys, self.shifts);
            text.push_str(LOAD_PREPARED);
        }
        let id: Vec<String> = self.build_id.iter().map(|byte| format!("{byte:#04x}")).collect();
        let _ = writeln!(
            text,
            "LUCOS_PATCH_FOR_KERNEL(\"{}\", \"{}\", {}, {});",
            self.name,
            description(self.description),
            self.build_id.len(),
            id.join(", ")
        );
        Ok(text)
    }

    /// The lines that name the name spaces.
    pub(crate) fn imports(&self) -> String {
        self.spaces.iter().map(|space| format!("MODULE_IMPORT_NS({space});\n")).collect()
    }

    /// The table of expected bytes knows functions by their names only.
    fn is_unique(&self, function: &Replaced) -> bool {
        self.functions.iter().filter(|other| other.old.name == function.old.name).count() == 1
    }
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
    pub fn new() -> Result<Self, crate::Error> {
        let folder =
            tempfile::tempdir().map_err(at(Path::new("the folder for temporary files")))?;
        let workshop = Self { folder, makefile: String::from("ccflags-y := -I$(src)\n") };
        let headers = workshop.folder.path().join("lucos");
        fs::create_dir(&headers).map_err(at(&headers))?;
        workshop.write("lucos/patch.h", PATCH_HEADER.as_bytes())?;
        workshop.write("lucos/interface.h", INTERFACE_HEADER.as_bytes())?;
        Ok(workshop)
    }

    /// Adds the parts of a module whose name no other one has.
    ///
    /// # Errors
    /// When a name is not allowed or there are too many functions.
    pub fn add(&mut self, patch: &PatchModule<'_>) -> Result<(), crate::Error> {
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
    pub fn link(&self, headers: &Path, symbols: Option<&Path>) -> Result<(), crate::Error> {
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
    pub fn take(&self, patch: &PatchModule<'_>, output: &Path) -> Result<(), crate::Error> {
        let built = self.folder.path().join(format!("{}.ko", patch.module()));
        run(Command::new("strip").arg("--strip-debug").arg(&built))?;
        copy(&built, output)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), crate::Error> {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).map_err(at(&path))
    }
}

/// Removes the module of an earlier build, which is not that of this one, however it ends.
///
/// # Errors
/// When something else is there, or it cannot be removed.
pub fn remove_older(output: &Path) -> Result<(), crate::Error> {
    let something_else =
        || Err(at(output)(io::Error::other("this is there, and no module to replace")));
    match fs::metadata(output) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(output)(error)),
        Ok(there) if !there.is_file() => return something_else(),
        Ok(_) => {}
    }
    let mut magic = Vec::new();
    File::open(output).and_then(|file| file.take(4).read_to_end(&mut magic)).map_err(at(output))?;
    if !magic.is_empty() && magic != object::elf::ELFMAG {
        return something_else();
    }
    fs::remove_file(output).map_err(at(output))
}

impl Replaced {
    /// One `struct lucos_patch_function`.
    fn write_entry(&self, text: &mut String) {
        let symbol = self.old.symbol();
        let _ = write!(
            text,
            "asm(\".pushsection .lucos.functions, \\\"aw\\\", @progbits\\n\"\n\
             \x20   \".weak {symbol}\\n.quad {symbol}\\n.quad {}\\n.long 0, {}\\n\"\n\
             \x20   LUCOS_NAME_FIELD(\"{}\") LUCOS_NAME_FIELD(\"{}\")\n\
             \x20   \".quad 0\\n.popsection\\n\");\n",
            self.new_symbol, self.old.nth, self.old.name, self.old.object
        );
    }
}

/// The module prepares itself before the update manager hears of the patch.
const LOAD_PREPARED: &str = "\
static int load_prepared(struct lucos_patch *patch, struct module *module)
{
\tint error = prepare();

\treturn error ? error : lucos_patch_load(patch, module);
}
#define lucos_patch_load load_prepared
";

/// One `struct lucos_patch_expected`.
fn write_expected(text: &mut String, name: &str, expected: &Expected) {
    let list = |bytes: &[u8]| -> String {
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:#04x}")).collect();
        bytes.join(", ")
    };
    let _ = write!(
        text,
        "asm(\".pushsection .lucos.expected, \\\"aw\\\", @progbits\\n\"\n\
         \x20   LUCOS_NAME_FIELD(\"{name}\")\n\
         \x20   \".long {}, 0\\n.byte {}\\n.byte {}\\n.popsection\\n\");\n",
        expected.length,
        list(&expected.bytes),
        list(&expected.mask)
    );
}

/// One `struct lucos_patch_kept` for each thing that is not harmless, as many as there may be.
fn write_kept(text: &mut String, kept: &[Kept]) {
    let kept: Vec<&Kept> = kept.iter().filter(|kept| !kept.harmless).collect();
    for (number, one) in kept.iter().take(MAX_KEPT).enumerate() {
        let rest = kept.len() - number;
        let is_last = number + 1 == MAX_KEPT && rest > 1;
        let (what, how) = match is_last {
            true => (format!("{rest} more"), String::from("see the explanation of the build")),
            false => (one.what.clone(), one.how.join(", ")),
        };
        let (what, how) = (field(&what, NAME), field(&how, DESCRIPTION));
        let _ = write!(
            text,
            "asm(\".pushsection .lucos.kept, \\\"aw\\\", @progbits\\n\"\n\
             \x20   \".byte {what}\\n.byte {how}\\n.popsection\\n\");\n"
        );
    }
}

/// The bytes of a text that ends with zeros, cut to so many.
fn field(text: &str, length: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if bytes.len() > length {
        bytes.truncate(length - ELLIPSIS.len());
        bytes.extend(ELLIPSIS.bytes());
    }
    bytes.resize(length + 1, 0);
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:#04x}")).collect();
    bytes.join(", ")
}

fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=55).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::Name(name.to_owned()))
}

/// A text that can stand in a C string and in the record.
pub(crate) fn description(text: &str) -> String {
    shortened(&plain(text), DESCRIPTION)
}

/// What a patch does and where it comes from, as a patch's description. What it does gives way to
/// where it comes from.
#[must_use]
pub fn described(what: Option<&str>, origin: &str) -> String {
    let (what, origin) = (plain(what.unwrap_or_default()), plain(origin));
    let room = DESCRIPTION.saturating_sub(origin.len() + " ()".len());
    if what.is_empty() || room <= ELLIPSIS.len() {
        return shortened_inside(&origin, DESCRIPTION);
    }
    format!("{} ({origin})", shortened(&what, room))
}

/// In ASCII, without what means something in a C string.
fn plain(text: &str) -> String {
    let plain = |c: char| match c {
        '"' => '\'',
        '\\' => '/',
        ' '..='~' => c,
        _ => '?',
    };
    text.chars().map(plain).collect()
}

/// The start of an ASCII text, in so many bytes.
fn shortened(text: &str, most: usize) -> String {
    match text.get(..most.saturating_sub(ELLIPSIS.len())) {
        Some(start) if text.len() > most => format!("{}{ELLIPSIS}", start.trim_end()),
        _ => text.to_owned(),
    }
}

/// The start and the end of an ASCII text, in so many bytes.
fn shortened_inside(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let half = text.get(text.len() - most / 2..).unwrap_or_default();
    format!("{}{half}", shortened(text, most - half.len()))
}

/// The name that a patch gets from the file it is written to.
#[must_use]
pub fn name_of_file(output: &Path) -> String {
    let output = PathBuf::from(output);
    output.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_descriptions_cannot_leave_their_strings() {
        assert!(check_name("fix-1_a").is_ok());
        for name in ["", "a b", "a\"", "../a"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(description("a \"b\" \\ \n\u{e9}"), "a 'b' / ??");
        assert_eq!(description(&"x".repeat(500)).len(), DESCRIPTION);
    }

    #[test]
    fn a_long_description_keeps_where_the_patch_comes_from() {
        let origin = "move_vma of Debian 6.1.192-2";
        assert_eq!(described(None, origin), origin);
        assert_eq!(described(Some("fixes it"), origin), format!("fixes it ({origin})"));
        let long = "word ".repeat(40);
        let text = described(Some(&long), origin);
        assert!(text.ends_with(&format!("... ({origin})")), "{text}");
        assert!((DESCRIPTION - 1..=DESCRIPTION).contains(&text.len()), "{text}");
        assert_eq!(description(&text), text);
        let exact = "x".repeat(DESCRIPTION - origin.len() - 3);
        assert_eq!(described(Some(&exact), origin), format!("{exact} ({origin})"));
        let more = described(Some(&(exact.clone() + "x")), origin);
        assert_eq!(more, format!("{}... ({origin})", &exact[3..]));
    }

    #[test]
    fn a_long_origin_is_shortened_inside() {
        let origin = format!("{}last_function of Debian 6.1.192-2", "function, ".repeat(20));
        let text = described(Some("fixes it"), &origin);
        assert!(text.starts_with("function, function, "), "{text}");
        assert!(text.contains("..."), "{text}");
        assert!(text.ends_with("last_function of Debian 6.1.192-2"), "{text}");
        assert!((DESCRIPTION - 1..=DESCRIPTION).contains(&text.len()), "{text}");
        let just = "x".repeat(DESCRIPTION);
        assert_eq!(described(Some("fixes it"), &just), just);
    }

    #[test]
    fn an_older_module_goes_but_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("patch.ko");
        remove_older(&file).unwrap();
        fs::write(&file, b"\x7fELF and more").unwrap();
        remove_older(&file).unwrap();
        assert!(!file.exists());
        assert!(remove_older(folder.path()).is_err());
        assert!(remove_older(Path::new("/dev/null")).is_err());
        fs::write(&file, "--- a/fs/file.c").unwrap();
        assert!(remove_older(&file).is_err());
        assert!(file.exists());
    }

    #[test]
    fn functions_of_one_name_are_told_apart_by_their_symbols() {
        let replaced = |nth| Replaced {
            old: Used { name: "f".into(), object: "vmlinux".into(), nth },
            new_symbol: format!("lucos_new_f{nth}"),
            expected: Some(Expected { length: 1, bytes: [0x55; 16], mask: [0xff; 16] }),
        };
        let module = PatchModule {
            redirector: Redirector::Lucos,
            name: "p",
            description: "",
            build_id: &[1, 2],
            payloads: &[],
            functions: &[replaced(1), replaced(2)],
            keys: &[],
            shifts: &[],
            spaces: &BTreeSet::new(),
            kept: &[],
        };
        let text = module.source().unwrap();
        assert!(text.contains(".quad lucos.select.vmlinux.2.f\\n.quad lucos_new_f2"));
        assert!(!text.contains(".lucos.expected"), "one name cannot have two entries");
    }
}
