//! Patch modules as files, and what the kernel lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lucos::kallsyms::Symbols;
use lucos::modules;
use lucos::patch_file::{PatchFile, SYMBOL_SIZE};
use lucos::resolve::{self, Sections};
use lucos_guest_interface::name;
use lucos_guest_interface::patch_module::{
    PATCH_NO_TAIL_CALLS, PATCH_VERSION, PatchFunctionRecord, PatchRecord, SECTION_FUNCTIONS,
    SECTION_PATCH,
};
use object::write::{
    Object, Relocation, RelocationFlags, SectionId, Symbol, SymbolId, SymbolSection,
};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf,
};

const KALLSYMS: &[u8] = b"ffffffff81000000 T old_function\nffffffff81000100 t twice\n\
    ffffffff81000200 t twice\nffffffff82000000 D some_data\nffffffffc0000000 t helper\t[loop]\n";

/// The bytes are taken for a module and for the kernel's lists.
pub fn check(data: &[u8]) -> bool {
    let file = PatchFile::parse(Path::new("input.ko"), data.to_vec());
    if let Ok(file) = &file {
        promises(file);
    }
    let wanted = BTreeSet::from([String::from("old_function"), String::from("twice")]);
    let symbols = Symbols::read(data, &wanted);
    if let Ok(symbols) = &symbols {
        for candidate in symbols.candidates("twice") {
            assert!(candidate.nth > 0);
        }
    }
    file.is_ok() || symbols.is_ok() || modules::read(data).is_ok()
}

fn promises(file: &PatchFile) {
    assert!(!file.name.is_empty() && file.name.len() < 64);
    assert!(!file.file.module.contains(['/', '.', '\0']), "a module's name is part of paths");
    for symbol in &file.file.undefined {
        assert_eq!(symbol.place.len(), SYMBOL_SIZE);
        assert!(symbol.place.end <= file.file.image.len());
    }
    let Ok(wanted) = resolve::wanted_names(&file.file) else { return };
    let symbols = Symbols::read(KALLSYMS, &wanted).expect("a list");
    let modules = BTreeMap::from([(String::from("loop"), 0xffff_ffff_c000_0000)]);
    let Ok(resolved) = resolve::resolve(&file.file, &symbols, &modules, &Paths) else { return };
    assert_eq!(resolved.len(), file.file.undefined.len());
    let Ok(image) = resolve::rewrite(&file.file, &resolved) else { return };
    assert_eq!(image.len(), file.file.image.len());
    let is_symbol = |index: usize| file.file.undefined.iter().any(|one| one.place.contains(&index));
    let changed =
        image.iter().zip(&file.file.image).enumerate().filter(|(_, (new, old))| new != old);
    for (index, _) in changed {
        assert!(is_symbol(index), "a byte outside the symbols is changed");
    }
}

/// What is asked for becomes a path in `/sys/module`.
struct Paths;

impl Sections for Paths {
    fn build_id(&self, module: &str) -> Option<String> {
        assert!(!module.is_empty() && !module.contains(['/', '.', '\0']), "part of a path");
        Some("0a".to_owned())
    }

    fn address(&self, _: &str, section: &str) -> Option<u64> {
        assert!(!["", ".", ".."].contains(&section) && !section.contains('/'), "part of a path");
        Some(0xffff_ffff_c000_1000)
    }
}

/// Lists, the start of a module, and a whole one.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        KALLSYMS.to_vec(),
        b"loop 45056 0 - Live 0xffffffffc0a00000\nlucos 6 1 fix, Live 0xffffffffc0b00000 (OE)\n"
            .to_vec(),
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0\x01\0\0\0".to_vec(),
        module(),
    ]
}

/// A module that replaces `old_function` and the second `twice`.
fn module() -> Vec<u8> {
    let mut file = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let mut add = |name: &str, bytes: &[u8]| {
        let section = file.add_section(Vec::new(), name.into(), SectionKind::Data);
        file.append_section_data(section, bytes, 8);
        section
    };
    add(".modinfo", b"name=example\0vermagic=6.1.0-1-test SMP \0license=GPL\0");
    add(
        ".note.gnu.build-id",
        &[4, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, 1, 2, 3, 4],
    );
    let mut exported = [0; 64];
    exported[8..24].copy_from_slice(b"lucos_patch_load");
    add("__versions", &exported);
    let field = |text| name::field(text).expect("a name");
    let patch = PatchRecord {
        version: PATCH_VERSION,
        size: PatchRecord::SIZE as u32,
        flags: PATCH_NO_TAIL_CALLS,
        name: field("example"),
        ..PatchRecord::default()
    };
    let patch = add(SECTION_PATCH, &patch.to_bytes());
    let entry = |text| PatchFunctionRecord { name: field(text), ..PatchFunctionRecord::default() };
    let entries = [entry("old_function").to_bytes(), entry("twice").to_bytes()].concat();
    let functions = add(SECTION_FUNCTIONS, &entries);

    let table = symbol(&mut file, "table", SymbolSection::Section(functions));
    for (name, addend) in [("functions", 0), ("functions_end", entries.len() as i64)] {
        let place = PatchRecord::FIELDS.iter().find(|field| field.name == name);
        refer(&mut file, patch, place.expect("a field").offset as u64, table, addend);
    }
    symbol(&mut file, "lucos.section.loop.0a..rodata", SymbolSection::Undefined);
    for (index, name) in ["old_function", "lucos.select.vmlinux.2.twice"].into_iter().enumerate() {
        let target = symbol(&mut file, name, SymbolSection::Undefined);
        refer(&mut file, functions, (index * PatchFunctionRecord::SIZE) as u64, target, 0);
    }
    symbol(&mut file, "lucos_patch_load", SymbolSection::Undefined);
    file.write().expect("a small object")
}

fn symbol(file: &mut Object<'_>, name: &str, section: SymbolSection) -> SymbolId {
    file.add_symbol(Symbol {
        name: name.into(),
        value: 0,
        size: 0,
        kind: SymbolKind::Data,
        scope: SymbolScope::Dynamic,
        weak: false,
        section,
        flags: SymbolFlags::None,
    })
}

fn refer(file: &mut Object<'_>, section: SectionId, offset: u64, symbol: SymbolId, addend: i64) {
    let flags = RelocationFlags::Elf { r_type: elf::R_X86_64_64 };
    file.add_relocation(section, Relocation { offset, symbol, addend, flags })
        .expect("a relocation of this kind");
}

#[cfg(test)]
mod tests {
    use super::{PatchFile, Path, module};

    #[test]
    fn the_module_is_a_patch() {
        let file = PatchFile::parse(Path::new("example.ko"), module()).unwrap();
        assert_eq!(file.functions, ["old_function", "lucos.select.vmlinux.2.twice"]);
        let undefined: Vec<_> = file.file.undefined.iter().map(|symbol| &*symbol.name).collect();
        let section = "lucos.section.loop.0a..rodata";
        assert_eq!(undefined, [section, "old_function", "lucos.select.vmlinux.2.twice"]);
        assert_eq!((file.name.as_str(), file.file.kernel.as_str()), ("example", "6.1.0-1-test"));
    }
}
