//! A module of the kernel's package, linked as if it were loaded somewhere.
//!
//! Its sections get addresses, and the fields in its code are filled in, so that it can be
//! compared like the kernel image. The addresses mean nothing beyond that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::read::elf::ElfFile64;
use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget,
    SectionFlags, SectionKind, SymbolKind, elf,
};

use crate::error::{Error, at};
use crate::image::{self, Symbol, Symbols};

/// Where modules are, and where symbols of others are put.
const BASE: u64 = 0xffff_ffff_c000_0000;
const OTHERS: u64 = 0xffff_ffff_e000_0000;
const OTHERS_STEP: u64 = 0x1000;

/// Where a module is, without the ending of a packed one: the build system may name it with `_`
/// where its file has `-`, and in the folder of one of its objects, below its own.
fn place(kernel: &Path, module: &str) -> PathBuf {
    let exact = kernel.join(format!("{module}.ko"));
    let wanted = exact.file_name().unwrap_or_default().to_string_lossy().replace('-', "_");
    for folder in exact.ancestors().skip(1).take(3) {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let found = names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .map(|name| name.strip_suffix(".xz").map_or(name.clone(), str::to_owned))
            .find(|name| name.replace('-', "_") == wanted);
        if let Some(name) = found {
            return folder.join(name);
        }
    }
    exact
}

/// A linked module.
pub struct ModuleImage {
    name: String,
    symbols: Symbols,
    /// By address.
    sections: BTreeMap<u64, Vec<u8>>,
}

impl ModuleImage {
    /// Reads a module, such as `drivers/block/loop`, of a `lib/modules/RELEASE` folder.
    ///
    /// # Errors
    /// When it is not there or malformed.
    pub fn read(modules: &Path, module: &str) -> Result<Self, Error> {
        let plain = place(&modules.join("kernel"), module);
        let file = if plain.exists() { plain.clone() } else { plain.with_extension("ko.xz") };
        let bytes = contents(&file)?;
        let name = module.rsplit('/').next().unwrap_or(module).replace('-', "_");
        Self::link(name, &bytes)
            .map_err(|reason| Error::Image(image::Error::Malformed { path: plain, reason }))
    }

    /// The module's name as the kernel shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The symbols that it defines.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The bytes from an address to the end of its section.
    #[must_use]
    pub fn bytes_at(&self, address: u64) -> Option<&[u8]> {
        let (start, bytes) = self.sections.range(..=address).next_back()?;
        bytes.get(usize::try_from(address - start).ok()?..)
    }

    fn link(name: String, bytes: &[u8]) -> Result<Self, String> {
        let file: ElfFile64<'_, LittleEndian> =
            ElfFile64::parse(bytes).map_err(|error| error.to_string())?;
        let mut places: BTreeMap<usize, u64> = BTreeMap::new();
        let mut next = BASE;
        for section in file.sections() {
            let allocated = matches!(section.flags(), SectionFlags::Elf { sh_flags, .. }
                if sh_flags.contains(elf::SHF_ALLOC));
            if allocated {
                places.insert(section.index().0, next);
                next = (next + section.size()).next_multiple_of(0x1000) + 0x1000;
            }
        }
        let address = |symbol: &object::read::elf::ElfSymbol64<'_, '_, LittleEndian>| match symbol
            .section_index()
        {
            Some(section) => places.get(&section.0).map(|start| start + symbol.address()),
            None if symbol.is_undefined() => Some(OTHERS + symbol.index().0 as u64 * OTHERS_STEP),
            None => None,
        };
        let symbols = file
            .symbols()
            .filter(|symbol| {
                !symbol.is_undefined()
                    && !matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File)
            })
            .filter_map(|symbol| {
                let kind = if symbol.kind() == SymbolKind::Text { b't' } else { b'd' };
                let name = symbol.name().ok().filter(|name| !name.is_empty())?.to_owned();
                Some(Symbol { address: address(&symbol)?, kind, name })
            })
            .collect();
        let mut sections = BTreeMap::new();
        for section in file.sections() {
            let Some(&start) = places.get(&section.index().0) else {
                continue;
            };
            if section.kind() == SectionKind::UninitializedData {
                continue;
            }
            let mut data = section.data().map_err(|error| error.to_string())?.to_vec();
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(index) = relocation.target() else {
                    continue;
                };
                let symbol = file.symbol_by_index(index).map_err(|error| error.to_string())?;
                if let Some(target) = address(&symbol) {
                    fill(&mut data, offset, start, target, &relocation)
                        .ok_or("a relocation is outside of its section")?;
                }
            }
            sections.insert(start, data);
        }
        Ok(Self { name, symbols: Symbols::new(symbols), sections })
    }
}

fn fill(
    data: &mut [u8],
    offset: u64,
    start: u64,
    target: u64,
    relocation: &object::Relocation,
) -> Option<()> {
    let RelocationFlags::Elf { r_type } = relocation.flags() else {
        return Some(());
    };
    let absolute = target.wrapping_add_signed(relocation.addend());
    let relative = absolute.wrapping_sub(start.wrapping_add(offset));
    let (value, width) = match r_type {
        elf::R_X86_64_64 => (absolute, 8),
        elf::R_X86_64_32 | elf::R_X86_64_32S => (absolute, 4),
        elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => (relative, 4),
        elf::R_X86_64_PC64 => (relative, 8),
        _ => return Some(()),
    };
    let at = usize::try_from(offset).ok()?;
    data.get_mut(at..at.checked_add(width)?)?.copy_from_slice(value.to_le_bytes().get(..width)?);
    Some(())
}

/// The bytes of a module's file, which may be packed.
pub(crate) fn contents(path: &Path) -> Result<Vec<u8>, Error> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(path).map_err(at(path));
    }
    let output = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .map_err(|error| Error::Program { program: "xz".into(), message: error.to_string() })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: "xz".into(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_the_name_and_folder_of_its_objects() {
        let folder = tempfile::tempdir().unwrap();
        let kvm = folder.path().join("arch/x86/kvm");
        fs::create_dir_all(kvm.join("vmx")).unwrap();
        fs::write(kvm.join("kvm-intel.ko.xz"), "").unwrap();
        let found = place(folder.path(), "arch/x86/kvm/vmx/kvm_intel");
        assert_eq!(found, kvm.join("kvm-intel.ko"));
        let absent = place(folder.path(), "arch/x86/kvm/other");
        assert_eq!(absent, kvm.join("other.ko"));
    }
}
