//! Compiled objects against a program that was linked of the same or other source.

use std::path::Path;
use std::process::Command;

use lucos_object_diff::SpecialSizes;
use lucos_patch_builder::image::{Symbol, Symbols};
use lucos_patch_builder::running::{Error, Matched, ObjectCode, Running, at_site};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

const SHARED: &str =
    "#define SHARED static __attribute__((noipa, used, section(\".noinstr.text\")))\n";
const FIRST: &str = "SHARED int first(int a) { __asm__ volatile(\"\"); return a * 3; }\n";
const SECOND: &str = "SHARED int second(int a) { __asm__ volatile(\"\"); return a * 5; }\n";

fn caller(callee: &str) -> String {
    format!("SHARED int caller(int a) {{ return {callee}(a) + {callee}(a + 1); }}\n")
}

/// A linked program.
struct Program {
    symbols: Symbols,
    sections: Vec<(u64, Vec<u8>)>,
}

impl Running for Program {
    fn name(&self) -> &str {
        "vmlinux"
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn bytes_at(&self, address: u64) -> Option<&[u8]> {
        let (start, bytes) = self
            .sections
            .iter()
            .find(|(start, bytes)| (*start..*start + bytes.len() as u64).contains(&address))?;
        bytes.get(usize::try_from(address - start).ok()?..)
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("start");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn compile(folder: &Path, source: &str) -> Vec<u8> {
    compile_as(folder, "test", source)
}

fn compile_as(folder: &Path, name: &str, source: &str) -> Vec<u8> {
    let (file, object) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.o")));
    std::fs::write(&file, format!("{SHARED}{source}")).expect("write");
    run(Command::new("gcc")
        .args(["-c", "-O2", "-fno-pic", "-ffunction-sections", "-fcf-protection=none"])
        .arg(&file)
        .arg("-o")
        .arg(&object));
    std::fs::read(&object).expect("read")
}

fn link(folder: &Path, source: &str) -> Program {
    compile(folder, source);
    link_objects(folder, &["test"])
}

fn link_objects(folder: &Path, names: &[&str]) -> Program {
    let program = folder.join("program");
    let objects = names.iter().map(|name| folder.join(format!("{name}.o")));
    run(Command::new("ld").args(["-e", "0", "-o"]).arg(&program).args(objects));
    let bytes = std::fs::read(&program).expect("read");
    let file: ElfFile64<'_, LittleEndian> = ElfFile64::parse(&*bytes).expect("parse");
    let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let symbols = symbols.map(|symbol| Symbol {
        address: symbol.address(),
        kind: b'T',
        name: symbol.name().expect("name").to_owned(),
    });
    let kinds = [SectionKind::Text, SectionKind::ReadOnlyData, SectionKind::ReadOnlyString];
    let known = file.sections().filter(|section| kinds.contains(&section.kind()));
    let sections = known.map(|one| (one.address(), one.data().expect("data").to_vec())).collect();
    Program { symbols: Symbols::new(symbols.collect()), sections }
}

fn matched(compiled: &str, running: &str) -> Result<usize, Error> {
    let folder = tempfile::tempdir().expect("folder");
    let object = compile(folder.path(), compiled);
    let code = ObjectCode::read("test.o", &object, &SpecialSizes::LINUX_6_1)?;
    let near: usize = code.functions.values().map(|code| code.neighbours.len()).sum();
    assert!(near >= 2, "the assembler knows the distances");
    let program = link(folder.path(), running);
    Matched::find("test.o", &code, &program).map(|matched| matched.functions.len())
}

// Functions that share a section, as `noinstr` ones do: the assembler fills in the branches between
// them, so no relocation says where these lead.

#[test]
fn branches_lead_to_the_function_of_the_same_name_wherever_it_is() {
    let compiled = [FIRST, SECOND, &caller("first")].concat();
    assert_eq!(matched(&compiled, &compiled).expect("the same"), 3);
    let moved = [&caller("first"), SECOND, "SHARED void more(void) {}\n", FIRST].concat();
    let moved = format!("static int first(int);\n{moved}");
    assert_eq!(matched(&compiled, &moved).expect("elsewhere"), 3);
}

#[test]
fn a_branch_to_another_function_is_a_difference() {
    let compiled = [FIRST, SECOND, &caller("first")].concat();
    let other = [FIRST, SECOND, &caller("second")].concat();
    match matched(&compiled, &other) {
        Err(Error::Differs { function, .. }) => assert_eq!(function, "caller"),
        result => panic!("{result:?}"),
    }
}

#[test]
fn a_constant_that_is_filled_in_during_boot_is_not_expected() {
    let source = "int user(unsigned long x) {
        unsigned long limit;
        __asm__(\"mov %1,%0\\n1:\\n.pushsection runtime_ptr_LIMIT,\\\"a\\\"\\n\"
            \".long 1b - 8 - .\\n.popsection\" : \"=r\" (limit) : \"i\" (0x0123456789abcdefUL));
        return x > limit;
    }";
    let folder = tempfile::tempdir().expect("folder");
    let object = compile(folder.path(), source);
    let code = ObjectCode::read("test.o", &object, &SpecialSizes::LINUX_6_1).expect("an object");
    let program = link(folder.path(), source);
    let matched = Matched::find("test.o", &code, &program).expect("the same");
    let expected = at_site(&code.functions["user"], &matched.functions["user"], &program);
    let mask = expected.expect("bytes behind the constant").mask;
    let at = code.functions["user"]
        .bytes
        .windows(8)
        .position(|bytes| bytes == 0x0123_4567_89ab_cdef_u64.to_le_bytes());
    let at = at.expect("the constant");
    assert!(mask[at..at + 8].iter().all(|byte| *byte == 0), "{mask:x?}");
    assert!(mask[at + 8..].contains(&0xff), "{mask:x?}");
}

/// The kernel's object checker takes a static branch out and leaves a relocation of no kind.
#[test]
fn a_branch_that_was_taken_out_is_no_field() {
    let nop = "SHARED void quiet(void) { __asm__ volatile(\".reloc 1f+1, R_X86_64_NONE, caller\\n\"\n\
               \"1: .byte 0x0f, 0x1f, 0x44, 0, 0\"); }\n";
    let compiled = [FIRST, SECOND, &caller("first"), nop].concat();
    assert_eq!(matched(&compiled, &compiled).expect("the same"), 4);
    let other = compiled.replace("0x44, 0, 0", "0x44, 1, 0");
    match matched(&compiled, &other) {
        Err(Error::Differs { function, .. }) => assert_eq!(function, "quiet"),
        result => panic!("{result:?}"),
    }
}

/// The function of the one source that differs in the program of the other.
fn difference(compiled: &str, running: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("folder");
    let object = compile(folder.path(), compiled);
    let code = ObjectCode::read("test.o", &object, &SpecialSizes::LINUX_6_1).expect("an object");
    match Matched::find("test.o", &code, &link(folder.path(), running)) {
        Ok(_) => None,
        Err(Error::Differs { function, .. }) => Some(function),
        Err(error) => panic!("{error}"),
    }
}

// What only the linker's fields tell apart.

const ONE_AND_TWO: &str = "#define ALONE __attribute__((noipa))
    ALONE int one(int a) { return a + 1; }
    ALONE int two(int a) { return a + 2; }
    static ALONE int three(int a) { return a + 3; }
    static ALONE int four(int a) { return a + 4; }
    int both(int a) { return three(a) * four(a); }\n";

#[test]
fn a_call_of_another_function_is_a_difference() {
    for (callee, other) in [("one", "two"), ("three", "four")] {
        let source =
            |callee: &str| format!("{ONE_AND_TWO}int caller(int a) {{ return {callee}(a) * 7; }}");
        assert_eq!(difference(&source(callee), &source(callee)), None);
        assert_eq!(difference(&source(callee), &source(other)).as_deref(), Some("caller"));
    }
}

#[test]
fn another_string_or_constant_is_a_difference() {
    let text = |text: &str| format!("const char *told(void) {{ return \"{text}\"; }}");
    assert_eq!(difference(&text("first"), &text("first")), None);
    assert_eq!(difference(&text("first"), &text("other")).as_deref(), Some("told"));
    assert_eq!(difference(&text("first"), &text("first one")).as_deref(), Some("told"));
    // The address of a string's end is no other string.
    let end = "int told(const char *a, const char *b) { static const char *all[] = {\"x\"};
        return a == &\"first\"[6] ? *b == *\"second\" : *a == all[0][0]; }";
    assert_eq!(difference(end, &format!("char *more(void) {{ return \"12345\"; }} {end}")), None);
    let number = |number: &str| format!("double told(double a) {{ return a * {number}; }}");
    assert_eq!(difference(&number("0.3"), &number("0.3")), None);
    assert_eq!(difference(&number("0.3"), &number("0.7")).as_deref(), Some("told"));
}

/// A function that another object has too, under the same name and with the same code.
const TWIN: &str = "static __attribute__((noipa, used)) int twin(int a) { return a * 11; }\n";
const OWN: &str = "__attribute__((noipa)) int own(int a) { return a + 5; }\n";
const OWN_CALLER: &str = "int own_caller(int a) { return twin(a) + 1; }\n";
const OWN_INIT: &str =
    "__attribute__((noipa, section(\".init.text\"))) int own_init(int a) { return a + 6; }\n";
const FOREIGN: &str = "int foreign(int a) { return a + 9; }\n";

/// Where the twin of an object is in a program of this and other objects: among all twins, from 0.
fn which_twin(own: &str, before: &str, after: &str) -> Result<usize, Error> {
    let folder = tempfile::tempdir().expect("folder");
    let object = compile_as(folder.path(), "own", own);
    compile_as(folder.path(), "before", before);
    compile_as(folder.path(), "after", after);
    let program = link_objects(folder.path(), &["before", "own", "after"]);
    let code = ObjectCode::read("own.o", &object, &SpecialSizes::LINUX_6_1)?;
    let matched = Matched::find("own.o", &code, &program)?;
    let address = matched.function("twin", &program)?.address;
    let twins = program.symbols.addresses("twin");
    Ok(twins.iter().position(|known| *known == address).expect("a twin"))
}

#[test]
fn the_function_that_the_object_calls_is_its_own_of_that_name() {
    // It is below the others of its object, and the one of the next object between these and the
    // object's code for boot.
    let own = [TWIN, OWN_CALLER, OWN_INIT].concat();
    let other = [FOREIGN, TWIN].concat();
    assert_eq!(which_twin(&own, "", &other).expect("the first"), 0);
    let before = other.replace("foreign", "stranger");
    assert_eq!(which_twin(&own, &before, &other).expect("the second"), 1);
}

#[test]
fn a_function_that_only_its_place_tells_is_not_guessed() {
    let own = [TWIN, OWN, OWN_INIT].concat();
    let apart = [TWIN, FOREIGN].concat();
    assert_eq!(which_twin(&own, &apart, "").expect("the other is apart"), 1);
    let touching = [FOREIGN, TWIN].concat();
    assert!(matches!(which_twin(&own, &touching, ""), Err(Error::Ambiguous { count: 2, .. })));
    assert_eq!(which_twin(&own, "", &touching).expect("the other is apart"), 0);
    let inside = [OWN, TWIN, &OWN.replace("own", "own_too")].concat();
    assert_eq!(which_twin(&inside, &touching, &apart.replace("foreign", "other")).expect("its"), 1);
}
