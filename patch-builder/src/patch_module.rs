//! The module of a patch: the new code, and the tables that `guest/include/lucos/patch.h` defines.
//! With other tables it is one for the kernel's own livepatch.

use std::collections::BTreeSet;
use std::fmt::Write;

use lucos_guest_interface::patch_module::MAX_KEPT;
use lucos_object_diff::{BootShifts, CopiedKey};

use crate::description::{self, ELLIPSIS, description};
use crate::kept::Kept;
use crate::preparation;
use crate::running::Expected;
use crate::used::Used;

/// Most functions of a patch.
const FUNCTIONS: usize = 64;
/// Most bytes of a name, its terminator left out.
const NAME: usize = 63;

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
    /// The name of the module.
    pub(crate) fn module(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The C file with the tables.
    pub(crate) fn source(&self) -> Result<String, Error> {
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
        let (what, how) = (field(&what, NAME), field(&how, description::MOST));
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

/// Whether this can be the name of a module.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=55).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::Name(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_strings() {
        assert!(check_name("fix-1_a").is_ok());
        for name in ["", "a b", "a\"", "../a"] {
            assert!(check_name(name).is_err(), "{name}");
        }
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
