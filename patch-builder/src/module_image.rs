//! A module of the kernel's package, linked as if it were loaded somewhere.
//!
//! Its sections get addresses, and the fields in its code are filled in, so that it can be
//! compared like the kernel image. The addresses mean nothing beyond that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lucos_guest_interface::patch_module::SECTION_PREFIX;
use lucos_object_diff::KernelPlace;
use object::read::elf::ElfFile64;
use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget,
    SectionFlags, SectionKind, SymbolKind, elf,
};

use crate::error::{Error, at};
use crate::image::{self, Symbol, Symbols};
use crate::running::{Memory, Running};

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
    /// What kind of memory the sections from an address on are in.
    memory: BTreeMap<u64, Memory>,
    /// Where symbols of others were put, by name.
    imports: BTreeMap<String, u64>,
    /// Names of the sections that no other one has, by address, with their sizes.
    names: BTreeMap<u64, (String, u64)>,
    build_id: Option<Vec<u8>>,
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

    /// Where a symbol of another module or the kernel was put.
    #[must_use]
    pub fn import(&self, name: &str) -> Option<u64> {
        self.imports.get(name).copied()
    }

    /// The symbol of another module or the kernel that was put at an address.
    #[must_use]
    pub fn import_at(&self, address: u64) -> Option<&str> {
        let mut imports = self.imports.iter();
        imports.find(|(_, place)| **place == address).map(|(name, _)| name.as_str())
    }

    /// The kind of memory that an address is in when the module is loaded.
    #[must_use]
    pub fn memory_of(&self, address: u64) -> Memory {
        self.memory.range(..=address).next_back().map_or(Memory::Data, |(_, memory)| *memory)
    }

    /// The section that an address is in, and how far behind its start; `None` when the section has
    /// no name of its own.
    #[must_use]
    pub fn section_of(&self, address: u64) -> Option<(&str, u64)> {
        let (start, (name, size)) = self.names.range(..=address).next_back()?;
        let offset = address - start;
        (offset < *size && !name.is_empty()).then_some((name.as_str(), offset))
    }

    /// The GNU build id.
    #[must_use]
    pub fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }

    fn link(name: String, bytes: &[u8]) -> Result<Self, String> {
        let file: ElfFile64<'_, LittleEndian> =
            ElfFile64::parse(bytes).map_err(|error| error.to_string())?;
        let mut places: BTreeMap<usize, u64> = BTreeMap::new();
        let mut memory = BTreeMap::new();
        let mut next = BASE;
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            if sh_flags.contains(elf::SHF_ALLOC) {
                places.insert(section.index().0, next);
                memory
                    .insert(next, memory_of_section(section.name().unwrap_or_default(), sh_flags));
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
                let kind = match (symbol.kind() == SymbolKind::Text, symbol.is_local()) {
                    (true, true) => b't',
                    (true, false) => b'T',
                    (false, true) => b'd',
                    (false, false) => b'D',
                };
                let name = symbol.name().ok().filter(|name| !name.is_empty())?.to_owned();
                Some(Symbol { address: address(&symbol)?, kind, name })
            })
            .collect();
        let imports = file
            .symbols()
            .filter(|symbol| symbol.is_undefined())
            .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), address(&symbol)?)))
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
        let build_id = file.build_id().ok().flatten().map(<[u8]>::to_vec);
        let names = section_names(&file, &places);
        let symbols = Symbols::new(symbols);
        Ok(Self { name, symbols, sections, memory, imports, names, build_id })
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

/// The names and sizes of sections by address; the name is empty where several have it.
fn section_names(
    file: &ElfFile64<'_, LittleEndian>,
    places: &BTreeMap<usize, u64>,
) -> BTreeMap<u64, (String, u64)> {
    let placed = || file.sections().filter(|section| places.contains_key(&section.index().0));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for section in placed() {
        *counts.entry(section.name().unwrap_or_default().to_owned()).or_default() += 1;
    }
    placed()
        .filter_map(|section| {
            let name = section.name().ok().filter(|name| counts.get(*name) == Some(&1));
            let place = places.get(&section.index().0)?;
            Some((*place, (name.unwrap_or_default().to_owned(), section.size())))
        })
        .collect()
}

/// Where the kernel's loader puts a section (`layout_sections`, `rewrite_section_headers`).
fn memory_of_section(name: &str, flags: elf::SectionFlags) -> Memory {
    // What the loader takes for read-only after the module is ready, whatever its flags.
    const READ_ONLY_AFTER_INIT: [&str; 3] =
        [".data..ro_after_init", "__jump_table", ".static_call_sites"];
    if name.starts_with(".init") {
        Memory::Init
    } else if name == ".data..percpu" {
        Memory::PerCpu
    } else if READ_ONLY_AFTER_INIT.contains(&name) {
        Memory::ReadOnlyAfterInit
    } else if flags.contains(elf::SHF_EXECINSTR) {
        Memory::Text
    } else if flags.contains(elf::SHF_WRITE) {
        Memory::Data
    } else {
        Memory::ReadOnly
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

    #[test]
    fn sections_are_in_the_memory_that_the_loader_puts_them_in() {
        let (read, write) = (elf::SHF_ALLOC, elf::SHF_ALLOC | elf::SHF_WRITE);
        let code = elf::SHF_ALLOC | elf::SHF_EXECINSTR;
        assert_eq!(memory_of_section(".text.unlikely", code), Memory::Text);
        assert_eq!(memory_of_section(".exit.text", code), Memory::Text);
        assert_eq!(memory_of_section(".init.text", code), Memory::Init);
        assert_eq!(memory_of_section(".init.data", write), Memory::Init);
        assert_eq!(memory_of_section(".rodata", read), Memory::ReadOnly);
        assert_eq!(memory_of_section(".bss", write), Memory::Data);
        assert_eq!(memory_of_section(".data..ro_after_init", write), Memory::ReadOnlyAfterInit);
        assert_eq!(memory_of_section(".data..percpu", write), Memory::PerCpu);
    }

    /// What a module takes from others and what it defines itself of the same name.
    #[test]
    fn a_symbol_of_another_module_has_a_place_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (source, object) = (folder.path().join("a.c"), folder.path().join("a.o"));
        fs::write(&source, "int theirs(void); int ours; int f(void) { return theirs() + ours; }")
            .unwrap();
        let status =
            Command::new("gcc").args(["-c", "-O1", "-o"]).args([&object, &source]).status();
        assert!(status.unwrap().success());
        let image = ModuleImage::link("a".into(), &fs::read(&object).unwrap()).unwrap();
        let theirs = image.import("theirs").unwrap();
        let ours = image.symbols().addresses("ours")[0];
        assert_eq!(image.import("ours"), None);
        assert!(image.symbols().is_global("ours", ours));
        assert_eq!(image.memory_of(ours), Memory::Data);
        let may_be_at = |name: &str, address| Running::may_be_at(&image, name, address);
        assert!(may_be_at("theirs", theirs) && !may_be_at("theirs", ours));
        assert!(may_be_at("ours", ours) && !may_be_at("ours", theirs));
        assert!(may_be_at("not_mentioned", ours));
    }
}
