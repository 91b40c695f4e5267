//! What is compared with: the kernel, or a module.

use lucos_object_diff::KernelPlace;

use crate::image::{Prototype, Symbols, Vmlinux};
use crate::used::{KERNEL_OBJECT, Used};

/// The kernel's symbols around its read-only data.
const READ_ONLY_START: &str = "__start_rodata";
const READ_ONLY_END: &str = "__end_rodata";

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
