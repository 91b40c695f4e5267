//! Compares an object without the change with the kernel that will run.
//!
//! When every instruction is the same, the object was made of the same source with the same
//! settings by the same compiler. The fields that a linker filled in then tell where the object's
//! functions and variables are, static ones of the same name too.

mod expected;
mod instructions;
mod matching;
mod object_code;
mod settling;

pub use expected::{Expected, at_site};
pub(crate) use instructions::{branch_target, decode};
pub use matching::{Match, Matched};
pub use object_code::{Code, ObjectCode, Place};

use lucos_guest_interface::patch_module::SECTION_PREFIX;
use lucos_object_diff::KernelPlace;

use crate::image::{Prototype, Symbols, Vmlinux};
use crate::module_image::ModuleImage;
use crate::references::Used;

/// The object that the kernel itself is, in the names that patches use.
pub const KERNEL_OBJECT: &str = "vmlinux";

/// The kernel's symbols around its read-only data.
const READ_ONLY_START: &str = "__start_rodata";
const READ_ONLY_END: &str = "__end_rodata";

/// Why an object is not the one that runs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compiled object is malformed.
    #[error("{object} is malformed: {reason}")]
    Malformed {
        /// The object.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// Code differs.
    #[error(
        "{object} is not what runs: {function} differs at byte {offset:#x} ({compiled} was \
         compiled, {running} runs); source, configuration or compiler are not this kernel's"
    )]
    Differs {
        /// The object.
        object: String,
        /// The function.
        function: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// The instruction that was compiled.
        compiled: String,
        /// The one that runs.
        running: String,
    },
    /// The kernel has no such function or variable.
    #[error(
        "{object}: the kernel that runs has no function or variable {function}; use another one, or \
         leave out what needs it"
    )]
    Absent {
        /// The object.
        object: String,
        /// The function.
        function: String,
    },
    /// Several symbols have the name.
    #[error(
        "{object}: {name} is ambiguous: the kernel has {count} of that name, and nothing tells which \
         one is meant; leave out what needs it, or call a copy of it under another name"
    )]
    Ambiguous {
        /// The object.
        object: String,
        /// The symbol.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// What was compiled as one thing is two in the code that runs.
    #[error(
        "{object}: {name} is one thing in what was compiled and two in what runs ({first}, {other}); \
         source, configuration or compiler are not this kernel's"
    )]
    TwoPlaces {
        /// The object.
        object: String,
        /// The symbol.
        name: String,
        /// A place and where it leads.
        first: String,
        /// Another one.
        other: String,
    },
    /// Symbols of one name are in memory of different kinds.
    #[error(
        "{object}: {name} cannot be told from the others of that name: {module} has them in \
         different kinds of memory, and their order is known only when it is loaded; leave out what \
         needs it, or call a copy of it under another name"
    )]
    Unordered {
        /// The object.
        object: String,
        /// The symbol.
        name: String,
        /// The module.
        module: String,
    },
    /// A symbol is where it should not be.
    #[error(
        "{object}: {name} is at {address:#x} in the code that runs, where the kernel's table has no \
         such symbol; leave out what needs it"
    )]
    NotASymbol {
        /// The object.
        object: String,
        /// The symbol.
        name: String,
        /// Its address.
        address: u64,
    },
}

/// Code that will run: the kernel's or a module's.
pub trait Running {
    /// `vmlinux` or the module's name.
    fn name(&self) -> &str;
    /// Its symbols.
    fn symbols(&self) -> &Symbols;
    /// The bytes from an address to the end of its section.
    fn bytes_at(&self, address: u64) -> Option<&[u8]>;
    /// Whether a symbol that objects share can have an address. Nothing is known of one that is in
    /// no table.
    fn may_be_at(&self, symbol: &str, address: u64) -> bool {
        let addresses = self.symbols().addresses(symbol);
        addresses.is_empty() || addresses.contains(&address)
    }
    /// In which memory an address is, as far as symbols of one name can be counted: the loader puts
    /// what is in different memory in no certain order.
    fn memory_of(&self, _address: u64) -> Memory {
        Memory::Whole
    }
    /// How a function is called, as far as that is known.
    fn prototype(&self, _function: &str) -> Option<Prototype> {
        None
    }
    /// The symbol of another object that an address stands for.
    fn import_at(&self, _address: u64) -> Option<&str> {
        None
    }
    /// How a patch refers to a place in read-only data that no symbol names; `None` when nothing is
    /// there that stays as it is.
    fn read_only_place(&self, _address: u64) -> Option<KernelPlace> {
        None
    }
}

/// Memory that is allocated as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The kernel's.
    Whole,
    /// A module's code.
    Text,
    /// Its data that it writes.
    Data,
    /// Its data that it does not write.
    ReadOnly,
    /// Its data that nobody writes once it is ready.
    ReadOnlyAfterInit,
    /// A copy for each processor.
    PerCpu,
    /// Gone once it is ready: the kernel does not show the symbols in it any more.
    Init,
}

impl Running for Vmlinux {
    fn name(&self) -> &str {
        KERNEL_OBJECT
    }

    fn symbols(&self) -> &Symbols {
        self.symbols()
    }

    fn bytes_at(&self, address: u64) -> Option<&[u8]> {
        self.bytes_at(address)
    }

    fn prototype(&self, function: &str) -> Option<Prototype> {
        self.prototype(function)
    }

    fn read_only_place(&self, address: u64) -> Option<KernelPlace> {
        let bound = |name: &str| match self.symbols().addresses(name) {
            [only] => Some(*only),
            _ => None,
        };
        let (start, end) = (bound(READ_ONLY_START)?, bound(READ_ONLY_END)?);
        let distance = i64::try_from(address.checked_sub(start)?).ok()?;
        let used = Used { name: READ_ONLY_START.into(), object: KERNEL_OBJECT.into(), nth: 0 };
        (address < end).then(|| KernelPlace { symbol: used.symbol(), distance })
    }
}

impl Running for ModuleImage {
    fn name(&self) -> &str {
        self.name()
    }

    fn symbols(&self) -> &Symbols {
        self.symbols()
    }

    fn bytes_at(&self, address: u64) -> Option<&[u8]> {
        self.bytes_at(address)
    }

    fn may_be_at(&self, symbol: &str, address: u64) -> bool {
        let own = self.symbols().addresses(symbol);
        let import = self.import(symbol);
        (own.is_empty() && import.is_none()) || own.contains(&address) || import == Some(address)
    }

    fn memory_of(&self, address: u64) -> Memory {
        self.memory_of(address)
    }

    fn import_at(&self, address: u64) -> Option<&str> {
        self.import_at(address)
    }

    fn read_only_place(&self, address: u64) -> Option<KernelPlace> {
        if self.memory_of(address) != Memory::ReadOnly {
            return None;
        }
        let (section, offset) = self.section_of(address)?;
        let symbol = section_symbol(self.name(), self.build_id()?, section);
        Some(KernelPlace { symbol, distance: i64::try_from(offset).ok()? })
    }
}

/// The undefined symbol that means the start of a section of a loaded module.
fn section_symbol(module: &str, build_id: &[u8], section: &str) -> String {
    let id: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{SECTION_PREFIX}{module}.{id}.{section}")
}
