//! A module as a file, above all a patch: what it says about itself, and whether that fits
//! together.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lucos_guest_interface::name;
use lucos_guest_interface::patch_module::{
    PATCH_NO_TAIL_CALLS, PATCH_VERSION, PatchFunctionRecord, PatchRecord, SECTION_DEPENDENCIES,
    SECTION_EXPECTED, SECTION_FUNCTIONS, SECTION_KEPT, SECTION_PATCH, SECTION_SHARED,
    SECTION_TWINS, SECTION_VALUES, SECTION_VERSIONS,
};
use object::elf::{
    EM_X86_64, ET_REL, FileHeader64, R_X86_64_64, Rela64, SHF_EXECINSTR, SHN_UNDEF, SHT_NOBITS,
    SHT_SYMTAB, SectionHeader64, Sym64,
};
use object::read::elf::{FileHeader, Rela, SectionHeader, SectionTable, Sym, SymbolTable};
use object::{LittleEndian as LE, SymbolIndex};

use crate::error::Error;
use crate::tail_calls::{Field, is_tail_call};

type Header = FileHeader64<LE>;

/// Size of a symbol in the file.
pub const SYMBOL_SIZE: usize = size_of::<Sym64<LE>>();

/// A symbol that the module uses and does not define.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndefinedSymbol {
    /// Its name, possibly with a selection in front.
    pub name: String,
    /// Where its [`SYMBOL_SIZE`] bytes stand in the file.
    pub place: Range<usize>,
}

/// A kernel module that was checked as far as the file alone allows.
#[derive(Debug)]
pub struct ModuleFile {
    /// The file's path, for messages.
    pub path: PathBuf,
    /// Its bytes.
    pub image: Vec<u8>,
    /// Name of the module.
    pub module: String,
    /// The kernel that the module was built for.
    pub kernel: String,
    /// The symbols that somebody else must define, those that the kernel exports left out.
    pub undefined: Vec<UndefinedSymbol>,
}

impl ModuleFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Read`] and the errors of [`ModuleFile::parse`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, read(path)?)
    }

    /// Checks the bytes of a file.
    ///
    /// # Errors
    /// [`Error::NotElf`], [`Error::NotModule`], [`Error::Truncated`] or [`Error::Malformed`].
    pub fn parse(path: &Path, image: Vec<u8>) -> Result<Self, Error> {
        let file = Elf::parse(path, &image)?.module()?;
        Ok(Self { image, ..file })
    }

    /// Checks that the module was built for the running kernel.
    ///
    /// # Errors
    /// [`Error::KernelVersion`].
    pub fn check_kernel(&self, running: &str) -> Result<(), Error> {
        if self.kernel == running {
            return Ok(());
        }
        Err(Error::KernelVersion(self.path.clone(), self.kernel.clone(), running.to_owned()))
    }
}

/// A patch module that was checked in the same way.
#[derive(Debug)]
pub struct PatchFile {
    /// The module.
    pub file: ModuleFile,
    /// Name of the patch.
    pub name: String,
    /// The functions that it replaces, by the names of the symbols.
    pub functions: Vec<String>,
    /// Number of the values that it changes.
    pub values: usize,
    /// Number of its data versions.
    pub data_versions: usize,
    /// The note section with the module's build id; `None` when it has none.
    pub build_note: Option<Vec<u8>>,
}

impl PatchFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Read`] and the errors of [`PatchFile::parse`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, read(path)?)
    }

    /// Checks the bytes of a file.
    ///
    /// # Errors
    /// Those of [`ModuleFile::parse`], [`Error::NotPatch`], [`Error::PatchVersion`] and
    /// [`Error::TailCalls`].
    pub fn parse(path: &Path, image: Vec<u8>) -> Result<Self, Error> {
        let elf = Elf::parse(path, &image)?;
        let record = elf.patch_record()?;
        let name = elf.name_field(&record.name, "the name of the patch")?;
        let functions = elf.functions()?;
        elf.check_tail_calls(record.flags)?;
        let values = elf.values()?;
        elf.check_other_tables()?;
        let data_versions =
            elf.section(SECTION_VERSIONS)?.unwrap_or_default().len() / size_of::<u64>();
        let file = elf.module()?;
        let build_note = elf.section(".note.gnu.build-id")?.map(<[u8]>::to_vec);
        Ok(Self {
            file: ModuleFile { image, ..file },
            name,
            functions,
            values,
            data_versions,
            build_note,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Read(path.into(), error))
}

/// What the module's `.modinfo` says.
struct Information {
    module: String,
    kernel: String,
}

/// The parsed file.
struct Elf<'a> {
    path: &'a Path,
    image: &'a [u8],
    sections: SectionTable<'a, Header>,
    symbols: SymbolTable<'a, Header>,
}

impl<'a> Elf<'a> {
    fn parse(path: &'a Path, image: &'a [u8]) -> Result<Self, Error> {
        if image.get(..4) != Some(b"\x7fELF") {
            return Err(Error::NotElf(path.into()));
        }
        // Class and byte order stand in the fifth and sixth byte.
        match image.get(4..6) {
            Some([2, 1]) => {}
            Some(_) => return Err(Error::NotModule(path.into())),
            None => return Err(Error::Truncated(path.into())),
        }
        let truncated = |_| Error::Truncated(path.into());
        let header = Header::parse(image).map_err(truncated)?;
        if header.e_type(LE) != ET_REL || header.e_machine(LE) != EM_X86_64 {
            return Err(Error::NotModule(path.into()));
        }
        let sections = header.sections(LE, image).map_err(truncated)?;
        for section in sections.iter() {
            check_section(section, image).ok_or_else(|| Error::Truncated(path.into()))?;
        }
        let symbols = sections
            .symbols(LE, image, SHT_SYMTAB)
            .map_err(|error| Error::Malformed(path.into(), error.to_string()))?;
        if symbols.is_empty() {
            return Err(Error::NotModule(path.into()));
        }
        Ok(Self { path, image, sections, symbols })
    }

    fn malformed(&self, what: impl Into<String>) -> Error {
        Error::Malformed(self.path.into(), what.into())
    }

    fn section_header(&self, name: &str) -> Option<(usize, &'a SectionHeader64<LE>)> {
        let (index, header) = self.sections.section_by_name(LE, name.as_bytes())?;
        Some((index.0, header))
    }

    fn section(&self, name: &str) -> Result<Option<&'a [u8]>, Error> {
        let Some((_, header)) = self.section_header(name) else {
            return Ok(None);
        };
        let data = header.data(LE, self.image).map_err(|e| self.malformed(e.to_string()))?;
        Ok(Some(data))
    }

    fn name_field(&self, field: &[u8; name::NAME_SIZE], what: &str) -> Result<String, Error> {
        let text = name::parse(field).map_err(|code| self.malformed(format!("{what}: {code}")))?;
        Ok(text.to_owned())
    }

    fn patch_record(&self) -> Result<PatchRecord, Error> {
        let bytes =
            self.section(SECTION_PATCH)?.ok_or_else(|| Error::NotPatch(self.path.into()))?;
        let record = PatchRecord::read(bytes)
            .ok_or_else(|| self.malformed("the section .lucos.patch is too short"))?;
        if record.version != PATCH_VERSION || record.size as usize != PatchRecord::SIZE {
            return Err(Error::PatchVersion(self.path.into(), record.version));
        }
        if bytes.len() != PatchRecord::SIZE {
            return Err(self.malformed("LUCOS_PATCH stands in it more than once"));
        }
        Ok(record)
    }

    /// The names of the symbols that the entries of `.lucos.functions` refer to.
    fn functions(&self) -> Result<Vec<String>, Error> {
        let bytes = self.section(SECTION_FUNCTIONS)?.unwrap_or_default();
        if bytes.len() % PatchFunctionRecord::SIZE != 0 {
            return Err(self.malformed("the section .lucos.functions has a wrong size"));
        }
        let fields = ["functions", "functions_end"];
        self.check_extent(SECTION_FUNCTIONS, fields, bytes.len(), "LUCOS_REPLACE")?;
        let relocations = self.relocations(SECTION_FUNCTIONS)?;
        let mut functions = Vec::new();
        for (index, entry) in bytes.chunks_exact(PatchFunctionRecord::SIZE).enumerate() {
            let record = PatchFunctionRecord::read(entry)
                .ok_or_else(|| self.malformed("the section .lucos.functions is too short"))?;
            let name = self.name_field(&record.name, "the name of a function")?;
            let start = (index * PatchFunctionRecord::SIZE) as u64;
            let symbol = find_relocation(&relocations, start)
                .ok_or_else(|| self.malformed(format!("{name} has no address")))?;
            functions.push(self.symbol_name(symbol.r_sym(LE, false))?);
        }
        Ok(functions)
    }

    /// The number of values.
    fn values(&self) -> Result<usize, Error> {
        // The table has their addresses.
        const ENTRY: usize = size_of::<u64>();
        let length = self.section(SECTION_VALUES)?.unwrap_or_default().len();
        if !length.is_multiple_of(ENTRY) {
            return Err(self.malformed("the section .lucos.values has a wrong size"));
        }
        let fields = ["values", "values_end"];
        self.check_extent(SECTION_VALUES, fields, length, "LUCOS_VALUE")?;
        Ok(length / ENTRY)
    }

    /// The tables that only the update manager reads.
    fn check_other_tables(&self) -> Result<(), Error> {
        let tables = [
            (SECTION_EXPECTED, ["expected", "expected_end"], "LUCOS_EXPECT"),
            (SECTION_DEPENDENCIES, ["dependencies", "dependencies_end"], "LUCOS_DEPENDS"),
            (SECTION_KEPT, ["kept", "kept_end"], "LUCOS_KEEPS"),
            (SECTION_TWINS, ["twins", "twins_end"], "LUCOS_TWIN"),
            (SECTION_VERSIONS, ["versions", "versions_end"], "LUCOS_DATA or LUCOS_CARRIED"),
            (SECTION_SHARED, ["shared", "shared_end"], "LUCOS_SHARED"),
        ];
        for (table, fields, entry) in tables {
            let length = self.section(table)?.unwrap_or_default().len();
            self.check_extent(table, fields, length, entry)?;
        }
        Ok(())
    }

    /// The table that LUCOS_PATCH knows must be the whole section: an entry in another file of
    /// the module, or behind LUCOS_PATCH, would not be applied.
    fn check_extent(
        &self,
        table: &str,
        [start, end]: [&str; 2],
        length: usize,
        entry: &str,
    ) -> Result<(), Error> {
        let relocations = self.relocations(SECTION_PATCH)?;
        let target = |field: &str| -> Option<u64> {
            let place = PatchRecord::FIELDS.iter().find(|known| known.name == field)?;
            let relocation = find_relocation(&relocations, place.offset as u64)?;
            let index = SymbolIndex(relocation.r_sym(LE, false) as usize);
            let symbol = self.symbols.symbol(index).ok()?;
            let section = self.symbols.symbol_section(LE, symbol, index).ok()??;
            if Some(section.0) != self.section_header(table).map(|found| found.0) {
                return None;
            }
            symbol.st_value(LE).checked_add_signed(relocation.r_addend(LE))
        };
        if length == 0 || (target(start), target(end)) == (Some(0), Some(length as u64)) {
            return Ok(());
        }
        Err(self.malformed(format!(
            "not every {entry} stands in the file of LUCOS_PATCH and in front of it"
        )))
    }

    /// The module says that its code has none, and so it is.
    fn check_tail_calls(&self, flags: u32) -> Result<(), Error> {
        if flags & PATCH_NO_TAIL_CALLS == 0 {
            return Err(Error::TailCalls(self.path.into(), None));
        }
        for (index, header) in self.sections.iter().enumerate() {
            let name = self.sections.section_name(LE, header).unwrap_or_default();
            // Code that runs while the module is loaded or goes, or is put in place of other code.
            let is_other =
                [&b".init"[..], b".exit", b".altinstr"].iter().any(|one| name.starts_with(one));
            if is_other || !header.sh_flags(LE).contains(SHF_EXECINSTR) {
                continue;
            }
            let code = header.data(LE, self.image).map_err(|e| self.malformed(e.to_string()))?;
            for relocation in self.relocations_of(index)? {
                let symbol = SymbolIndex(relocation.r_sym(LE, false) as usize);
                let Ok(symbol) = self.symbols.symbol(symbol) else { continue };
                if symbol.st_shndx(LE) != SHN_UNDEF {
                    continue;
                }
                let (offset, kind) = (relocation.r_offset(LE), relocation.r_type(LE, false));
                let target = self.name_of(symbol)?;
                if is_tail_call(code, &Field { offset, kind, symbol: &target }) {
                    let function = self.function_at(index, offset)?;
                    return Err(Error::TailCalls(self.path.into(), Some((function, target))));
                }
            }
        }
        Ok(())
    }

    /// The name of the function at a place of a section; empty when there is none.
    fn function_at(&self, section: usize, offset: u64) -> Result<String, Error> {
        let is_there = |symbol: &&Sym64<LE>| {
            let place = symbol.st_value(LE)..symbol.st_value(LE).saturating_add(symbol.st_size(LE));
            usize::from(symbol.st_shndx(LE).0) == section && place.contains(&offset)
        };
        let found = self.symbols.symbols().iter().find(is_there);
        found.map_or(Ok(String::new()), |symbol| self.name_of(symbol))
    }

    fn relocations(&self, section: &str) -> Result<Vec<Rela64<LE>>, Error> {
        let target = self.section_header(section).map(|(index, _)| index);
        target.map_or(Ok(Vec::new()), |target| self.relocations_of(target))
    }

    fn relocations_of(&self, target: usize) -> Result<Vec<Rela64<LE>>, Error> {
        let mut relocations = Vec::new();
        for header in self.sections.iter() {
            if header.sh_info(LE) as usize != target {
                continue;
            }
            let table = header.rela(LE, self.image).map_err(|e| self.malformed(e.to_string()))?;
            relocations.extend(table.into_iter().flat_map(|(entries, _)| entries.iter().copied()));
        }
        Ok(relocations)
    }

    fn symbol_name(&self, index: u32) -> Result<String, Error> {
        let symbol = self
            .symbols
            .symbol(SymbolIndex(index as usize))
            .map_err(|e| self.malformed(e.to_string()))?;
        self.name_of(symbol)
    }

    fn name_of(&self, symbol: &Sym64<LE>) -> Result<String, Error> {
        let name =
            symbol.name(LE, self.symbols.strings()).map_err(|e| self.malformed(e.to_string()))?;
        let name =
            std::str::from_utf8(name).map_err(|_| self.malformed("a symbol's name is not text"))?;
        Ok(name.to_owned())
    }

    /// The undefined symbols that are not exported. A module lists the exported symbols it uses
    /// with their checksums in `__versions`; those are left to the kernel, which checks them.
    fn undefined(&self) -> Result<Vec<UndefinedSymbol>, Error> {
        let exported = self.exported()?;
        let table = self
            .sections
            .section(self.symbols.section())
            .map_err(|e| self.malformed(e.to_string()))?;
        let (start, _) = table
            .file_range(LE)
            .ok_or_else(|| self.malformed("the symbol table has no place in the file"))?;
        let mut undefined = Vec::new();
        for (index, symbol) in self.symbols.symbols().iter().enumerate() {
            if symbol.st_shndx(LE) != SHN_UNDEF || symbol.st_name(LE) == 0 {
                continue;
            }
            let name = self.name_of(symbol)?;
            if exported.contains(name.as_str()) {
                continue;
            }
            let place = usize::try_from(start)
                .ok()
                .and_then(|start| start.checked_add(index.checked_mul(SYMBOL_SIZE)?))
                .ok_or_else(|| self.malformed("the symbol table is too far behind"))?;
            undefined.push(UndefinedSymbol { name, place: place..place + SYMBOL_SIZE });
        }
        Ok(undefined)
    }

    fn exported(&self) -> Result<BTreeSet<&'a str>, Error> {
        const ENTRY: usize = 64;
        const CHECKSUM: usize = 8;
        let bytes = self.section("__versions")?.unwrap_or_default();
        let mut exported = BTreeSet::new();
        for entry in bytes.chunks_exact(ENTRY) {
            let (_, name) = entry
                .split_at_checked(CHECKSUM)
                .ok_or_else(|| self.malformed("the section __versions is too short"))?;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            let name = std::str::from_utf8(name)
                .map_err(|_| self.malformed("a name in __versions is not text"))?;
            exported.insert(name);
        }
        Ok(exported)
    }

    /// All but the bytes.
    fn module(&self) -> Result<ModuleFile, Error> {
        let Information { module, kernel } = self.information()?;
        let (path, undefined) = (self.path.into(), self.undefined()?);
        Ok(ModuleFile { path, image: Vec::new(), module, kernel, undefined })
    }

    fn information(&self) -> Result<Information, Error> {
        let bytes = self.section(".modinfo")?.ok_or_else(|| Error::NotModule(self.path.into()))?;
        let value = |key: &str| -> Option<String> {
            let text = bytes.split(|&byte| byte == 0).find_map(|entry| {
                let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
                (name == key).then_some(value)
            })?;
            Some(text.to_owned())
        };
        let missing = |key| self.malformed(format!("the module does not say its {key}"));
        let kernel = value("vermagic").ok_or_else(|| missing("vermagic"))?;
        let module = value("name").ok_or_else(|| missing("name"))?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if module.is_empty() || !module.bytes().all(is_name) {
            return Err(self.malformed("the module's name has a character that is not allowed"));
        }
        let kernel = kernel.split(' ').next().unwrap_or_default().to_owned();
        Ok(Information { module, kernel })
    }
}

/// Checks that a section's bytes are in the file.
fn check_section(section: &SectionHeader64<LE>, image: &[u8]) -> Option<()> {
    if section.sh_type(LE) == SHT_NOBITS {
        return Some(());
    }
    let start = usize::try_from(section.sh_offset(LE)).ok()?;
    let end = start.checked_add(usize::try_from(section.sh_size(LE)).ok()?)?;
    image.get(start..end).map(|_| ())
}

fn find_relocation(relocations: &[Rela64<LE>], offset: u64) -> Option<&Rela64<LE>> {
    relocations.iter().find(|relocation| {
        relocation.r_offset(LE) == offset && relocation.r_type(LE, false) == R_X86_64_64
    })
}
