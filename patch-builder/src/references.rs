//! What the undefined symbols of new code are called for the `lucos` command.
//!
//! What the kernel exports keeps its name: the kernel's loader checks its version. All else names
//! its object and, where several symbols have the name, which of them it is in the order of their
//! addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lucos_object_diff::{Constant, Holder, KernelPlace, Reference, Site};

use crate::error::{self, at};
use crate::image::Vmlinux;
use crate::running::{Error, Matched, Memory, Running};
use crate::used::{KERNEL_OBJECT, Used};

/// What the kernel and its modules export.
#[derive(Debug, Default)]
pub struct Exports {
    /// The name space of each symbol, possibly empty.
    spaces: BTreeMap<String, String>,
}

impl Exports {
    /// Reads `Module.symvers` of a kernel's headers.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(headers: &Path) -> Result<Self, error::Error> {
        let file = headers.join("Module.symvers");
        let text = fs::read_to_string(&file).map_err(at(&file))?;
        let spaces = text.lines().filter_map(|line| {
            // Checksum, symbol, module, kind, name space.
            let mut fields = line.split('\t').skip(1);
            let name = fields.next()?.to_owned();
            Some((name, fields.nth(2).unwrap_or_default().to_owned()))
        });
        Ok(Self { spaces: spaces.collect() })
    }

    /// The name space of an exported symbol.
    #[must_use]
    pub fn space(&self, name: &str) -> Option<&str> {
        self.spaces.get(name).map(String::as_str)
    }
}

/// Finds out which symbols are meant.
pub struct Resolver<'a> {
    /// The object, for messages.
    pub object: &'a str,
    /// What was found of it.
    pub matched: &'a Matched<'a>,
    /// What it is part of.
    pub running: &'a dyn Running,
    /// The kernel.
    pub kernel: &'a Vmlinux,
    /// What is exported.
    pub exports: &'a Exports,
    /// Defined by other objects of the patch.
    pub ours: &'a BTreeSet<String>,
}

impl Resolver<'_> {
    /// What a reference means; `None` when the patch itself defines it.
    ///
    /// # Errors
    /// When the kernel has no such symbol, or several and nothing tells which is meant.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Used>, Error> {
        if self.ours.contains(&reference.symbol) {
            return Ok(None);
        }
        if !reference.is_static && self.exports.space(&reference.name).is_some() {
            let (name, object) = (reference.name.clone(), String::new());
            return Ok(Some(Used { name, object, nth: 0 }));
        }
        if let Some(address) = self.address(reference)? {
            return self.at(&reference.name, address, self.running).map(Some);
        }
        self.by_name(reference).map(Some)
    }

    /// Where the kernel that runs has a constant; `None` when nothing tells, or what is there is not
    /// the constant.
    pub fn constant(&self, constant: &Constant) -> Option<KernelPlace> {
        let in_code = constant.sites.iter().filter_map(|site| self.read(site));
        let in_data = constant.holders.iter().filter_map(|holder| self.held(holder));
        in_code.chain(in_data).find_map(|address| {
            let there = self.running.bytes_at(address)?.get(..constant.bytes.len())?;
            let is_field = |at: &usize| constant.fields.iter().any(|field| field.contains(at));
            let mut pairs = there.iter().zip(&constant.bytes).enumerate();
            let is_same = pairs.all(|(at, (one, other))| one == other || is_field(&at));
            self.running.read_only_place(address).filter(|_| is_same)
        })
    }

    /// The address of a constant in data of the object.
    fn held(&self, holder: &Holder) -> Option<u64> {
        let known = |name: &str| match self.running.symbols().addresses(name) {
            [only] => Some(*only),
            _ => None,
        };
        let data =
            self.address(&holder.data).ok().flatten().or_else(|| known(&holder.data.name))?;
        let field = self.running.bytes_at(data.checked_add(holder.offset)?)?.first_chunk()?;
        Some(u64::from_le_bytes(*field).wrapping_sub(holder.addend.cast_unsigned()))
    }

    /// The old function of a name, by the name that the kernel shows.
    ///
    /// # Errors
    /// When it is not there or not certain.
    pub fn function(&self, name: &str) -> Result<Used, Error> {
        let address = self.matched.function(name, self.running)?.address;
        self.at(shown_name(name, address, self.running), address, self.running)
    }

    /// Where the code that runs refers to in the places that the differ names. It confirms that a
    /// variable of the object is one: all places lead to the same address.
    fn address(&self, reference: &Reference) -> Result<Option<u64>, Error> {
        let mut places = reference.sites.iter().filter_map(|site| Some((site, self.read(site)?)));
        let read = places.next();
        if let Some((first, address)) = read
            && reference.in_object
            && let Some((other, there)) = places.find(|(_, there)| *there != address)
        {
            let place = |site: &Site| format!("{}+{:#x}", site.function, site.offset);
            return Err(Error::TwoPlaces {
                object: self.object.to_owned(),
                name: reference.name.clone(),
                first: format!("{} to {address:#x}", place(first)),
                other: format!("{} to {there:#x}", place(other)),
            });
        }
        let own = || {
            let found = self.matched.functions.get(&reference.name)?;
            reference.in_object.then_some(found.address)
        };
        let Some(address) = read.map(|(_, address)| address).or_else(own) else { return Ok(None) };
        // What a module takes from elsewhere has no address there that means anything.
        Ok(self.running.symbols().names_at(address).next().map(|_| address))
    }

    /// The address of what a place refers to.
    fn read(&self, site: &Site) -> Option<u64> {
        let found = self.matched.functions.get(&site.function)?;
        let (value, addend) = found.value(site.offset)?;
        // The differ counts the addend from the symbol, the field perhaps from its section.
        Some(value.wrapping_add_signed(addend).wrapping_sub(site.addend.cast_unsigned()))
    }

    fn at(&self, name: &str, address: u64, running: &dyn Running) -> Result<Used, Error> {
        used(self.object, name, address, running)
    }

    fn by_name(&self, reference: &Reference) -> Result<Used, Error> {
        let name = &reference.name;
        let inside = self.running.symbols().addresses(name);
        let (running, addresses): (&dyn Running, &[u64]) = match inside {
            [] if !reference.in_object => (self.kernel, self.kernel.symbols().addresses(name)),
            _ => (self.running, inside),
        };
        match addresses {
            [] => Err(Error::Absent { object: self.object.to_owned(), function: name.clone() }),
            [only] => self.at(name, *only, running),
            several => {
                let mut global =
                    several.iter().filter(|address| running.symbols().is_global(name, **address));
                match (global.next(), global.next()) {
                    (Some(only), None) if !reference.is_static => self.at(name, *only, running),
                    _ => Err(Error::Ambiguous {
                        object: self.object.to_owned(),
                        name: name.clone(),
                        count: several.len(),
                    }),
                }
            }
        }
    }
}

/// A symbol by its place among those that the kernel shows of its name.
fn used(object: &str, name: &str, address: u64, running: &dyn Running) -> Result<Used, Error> {
    let mut addresses = running.symbols().addresses(name).to_vec();
    addresses.retain(|address| running.memory_of(*address) != Memory::Init);
    let memory = running.memory_of(address);
    if addresses.iter().any(|other| running.memory_of(*other) != memory) {
        return Err(Error::Unordered {
            object: object.to_owned(),
            name: name.to_owned(),
            module: running.name().to_owned(),
        });
    }
    let nth = match addresses.iter().position(|known| *known == address) {
        None => {
            let (object, name) = (object.to_owned(), name.to_owned());
            return Err(Error::NotASymbol { object, name, address });
        }
        Some(_) if addresses.len() == 1 => 0,
        Some(index) => index + 1,
    };
    Ok(Used { name: name.to_owned(), object: running.name().to_owned(), nth })
}

/// Which of its names a function is called by. One of a module goes by the name that the kernel shows
/// for it: other modules may have functions of its other names, such as `cleanup_module`.
fn shown_name<'a>(name: &'a str, address: u64, running: &'a dyn Running) -> &'a str {
    if running.name() == KERNEL_OBJECT {
        return name;
    }
    running.symbols().names_at(address).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Symbol, Symbols};

    struct Code(&'static str, Symbols);

    impl Running for Code {
        fn name(&self) -> &str {
            self.0
        }
        fn symbols(&self) -> &Symbols {
            &self.1
        }
        fn bytes_at(&self, _: u64) -> Option<&[u8]> {
            None
        }
        fn memory_of(&self, address: u64) -> Memory {
            match address {
                0..0x100 => Memory::ReadOnly,
                0x100..0x200 => Memory::Data,
                _ => Memory::Init,
            }
        }
    }

    #[test]
    fn a_function_of_a_module_is_called_as_the_kernel_shows_it() {
        let symbols = || {
            let symbol = |address, name: &str| Symbol { address, kind: b't', name: name.into() };
            let list = [(8, "other"), (4, "drive_exit"), (4, "cleanup_module"), (4, "a")];
            Symbols::new(list.into_iter().map(|(address, name)| symbol(address, name)).collect())
        };
        let module = Code("drive", symbols());
        assert_eq!(shown_name("cleanup_module", 4, &module), "drive_exit");
        assert_eq!(shown_name("a", 4, &module), "drive_exit");
        assert_eq!(shown_name("other", 8, &module), "other");
        // All names of the kernel itself are its own.
        assert_eq!(shown_name("a", 4, &Code(KERNEL_OBJECT, symbols())), "a");
    }

    #[test]
    fn symbols_of_a_module_are_counted_in_one_kind_of_memory_only() {
        let module = |places: &[u64]| {
            let symbol = |address| Symbol { address, kind: b'd', name: "ops".into() };
            Code("dm", Symbols::new(places.iter().copied().map(symbol).collect()))
        };
        let nth = |places: &[u64], address| {
            used("dm.o", "ops", address, &module(places)).map(|used| used.nth)
        };
        assert_eq!(nth(&[0x10, 0x20], 0x20).unwrap(), 2);
        assert_eq!(nth(&[0x10], 0x10).unwrap(), 0);
        // In .rodata and in .data: nobody knows which comes first in memory.
        assert!(matches!(nth(&[0x10, 0x110], 0x10), Err(Error::Unordered { .. })));
        assert!(matches!(nth(&[0x10, 0x110], 0x110), Err(Error::Unordered { .. })));
        // What is gone when the module is ready does not count, and nothing can use it.
        assert_eq!(nth(&[0x10, 0x20, 0x210], 0x20).unwrap(), 2);
        assert_eq!(nth(&[0x110, 0x210], 0x110).unwrap(), 0);
        assert!(matches!(nth(&[0x210], 0x210), Err(Error::NotASymbol { .. })));
    }
}
