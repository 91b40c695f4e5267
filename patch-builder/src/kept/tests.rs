//! Compiled cut-outs beside a compiled kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SymbolKind};

use super::{Kept, declared, find_within};
use crate::image::{Prototype, Symbol, Symbols};
use crate::running::Running;

/// A program in place of the kernel.
struct Program {
    symbols: Symbols,
    sections: Vec<(u64, Vec<u8>)>,
    prototypes: BTreeMap<&'static str, Prototype>,
}

impl Running for Program {
    fn name(&self) -> &str {
        "vmlinux"
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn prototype(&self, function: &str) -> Option<Prototype> {
        self.prototypes.get(function).copied()
    }

    fn bytes_at(&self, address: u64) -> Option<&[u8]> {
        self.sections.iter().find_map(|(start, bytes)| {
            let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
            bytes.get(offset..).filter(|rest| !rest.is_empty())
        })
    }
}

const FLAGS: [&str; 9] = [
    "-c",
    "-O2",
    "-ffreestanding",
    "-fno-pie",
    "-mcmodel=kernel",
    "-mgeneral-regs-only",
    "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector",
    "-w",
];

fn compile(folder: &Path, name: &str, source: &str) -> Vec<u8> {
    let (file, object) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.o")));
    std::fs::write(&file, source).unwrap();
    let status = Command::new("gcc").args(FLAGS).arg(&file).arg("-o").arg(&object).status();
    assert!(status.unwrap().success());
    std::fs::read(&object).unwrap()
}

/// What is used of the kernel.
const KERNEL: &str = "
    #define noinline __attribute__((noipa))
    const char *global; void *place[4];
    noinline void keep(const char *text) { global = text; }
    noinline void keep_deep(int x, const char *text) { keep(text); asm(\"\"); }
    noinline int look(const char *text) { return text[0] + text[1]; }
    noinline void init(void *lock, const char *name, void *key) { *(void **)lock = lock; }
    struct ops { void (*call)(void); };
    noinline void copy_ops(const struct ops *ops) { place[0] = ops->call; }
    noinline const char *same(const char *text) { asm(\"\"); return text; }
    noinline void nothing(void) { asm(\"\"); }
    noinline void table(void) { asm(\"\"); }
    void (*pointer)(const char *);
    int _printk(const char *format, ...) { return 0; }
    void *memcpy(void *to, const void *from, unsigned long size) { return to; }
";

const DECLARED: &str = "
    #define noinline __attribute__((noipa))
    extern const char *global; extern void *place[4];
    void keep(const char *); void keep_deep(int, const char *); int look(const char *);
    void init(void *, const char *, void *); struct ops { void (*call)(void); };
    void copy_ops(const struct ops *);
    const char *same(const char *); void nothing(void);
    extern void (*pointer)(const char *); int _printk(const char *, ...);
    void *memcpy(void *, const void *, unsigned long);
";

fn kernel(folder: &Path) -> Program {
    compile(folder, "kernel", KERNEL);
    let program = folder.join("program");
    let object = folder.join("kernel.o");
    let status = Command::new("ld").args(["-e", "0", "-o"]).arg(&program).arg(object).status();
    assert!(status.unwrap().success());
    let bytes = std::fs::read(&program).unwrap();
    let file: ElfFile64<'_, LittleEndian> = ElfFile64::parse(&*bytes).unwrap();
    let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let symbol = |symbol: object::read::elf::ElfSymbol64<'_, '_, LittleEndian>| Symbol {
        address: symbol.address(),
        kind: b'T',
        name: symbol.name().unwrap().to_owned(),
    };
    let symbols = Symbols::new(symbols.map(symbol).collect());
    let sections = file.sections().filter(|section| section.address() != 0);
    let sections = sections.map(|one| (one.address(), one.data().unwrap().to_vec())).collect();
    let nothing = Prototype { parameters: 0, returns: false };
    Program { symbols, sections, prototypes: [("nothing", nothing)].into() }
}

/// What is kept of a patch whose function is `lucos_new_f`.
fn kept(source: &str) -> Vec<Kept> {
    kept_within(super::MOST_ROUNDS, source)
}

fn kept_within(rounds: usize, source: &str) -> Vec<Kept> {
    let folder = tempfile::tempdir().unwrap();
    let kernel = kernel(folder.path());
    let payload = compile(folder.path(), "payload", &format!("{DECLARED}{source}"));
    let redirected = BTreeSet::from(["lucos_new_f"]);
    find_within(rounds, &[payload], &redirected, &kernel, &BTreeMap::new()).unwrap()
}

fn names(source: &str) -> Vec<String> {
    kept(source).into_iter().map(|kept| kept.what).collect()
}

fn how(source: &str) -> Vec<String> {
    kept(source).into_iter().flat_map(|kept| kept.how).collect()
}

#[test]
fn a_text_that_is_stored_is_kept() {
    let source = "void lucos_new_f(void) { global = \"stored\"; }";
    assert_eq!(names(source), ["\"stored\""]);
    assert_eq!(how(source), ["stored by f"]);
    let heap = "void lucos_new_f(char **x, int y) { if (y) x[3] = \"into memory\"; }";
    assert_eq!(names(heap), ["\"into memory\""]);
}

#[test]
fn a_text_that_is_returned_is_kept() {
    let source = "const char *lucos_new_f(int x) { return x ? \"one\" : \"other\"; }";
    assert_eq!(names(source), ["\"one\"", "\"other\""]);
    // What only new code gets.
    let inside = "noinline static const char *inner(int x) { return x ? \"one\" : \"other\"; }
        int lucos_new_f(int x) { return look(inner(x)); }";
    assert_eq!(names(inside), [""; 0]);
    let passed_on = inside.replace("return look(inner(x))", "global = inner(x); return 0");
    assert_eq!(names(&passed_on), ["\"one\"", "\"other\""]);
}

#[test]
fn the_code_of_the_kernel_tells_what_is_kept() {
    assert_eq!(names("void lucos_new_f(void) { keep(\"a\"); }"), ["\"a\""]);
    assert_eq!(
        how("void lucos_new_f(void) { keep_deep(1, \"a\"); }"),
        ["passed to keep_deep by f"]
    );
    assert_eq!(names("int lucos_new_f(void) { return look(\"a\"); }"), [""; 0]);
    assert_eq!(names("void lucos_new_f(void) { global = same(\"a\"); }"), ["\"a\""]);
    assert_eq!(names("void lucos_new_f(void) { look(same(\"a\")); }"), [""; 0]);
    assert_eq!(names("void lucos_new_f(void) { pointer(\"a\"); }"), ["\"a\""]);
    assert_eq!(
        names("void unknown(void *); void lucos_new_f(void) { unknown(\"a\"); }"),
        ["\"a\""]
    );
}

#[test]
fn what_is_printed_is_not_kept() {
    let source = "void lucos_new_f(int x) {
        _printk(\"%s %d %d %d %d %d %s\", \"a\", x, x, x, x, x, \"on the stack\"); }";
    assert_eq!(names(source), [""; 0]);
    let unknown = source.replace("_printk(", "unknown(");
    let unknown = format!("int unknown(const char *, ...); {unknown}");
    assert_eq!(names(&unknown).len(), 3);
}

#[test]
fn a_lock_class_key_is_kept_where_the_kernel_has_a_use_for_it() {
    let source = "struct key {}; static struct key __key; static int more;
        void lucos_new_f(void **lock) { init(lock, \"&lock\", &__key); more++; }";
    assert_eq!(names(source), [""; 0]);
    let stored = "static int __key; void lucos_new_f(void) { place[1] = &__key; }";
    assert_eq!(names(stored), ["__key"]);
}

#[test]
fn functions_that_are_stored_are_kept() {
    let callback = "static void callback(void) { nothing(); }";
    let stored = format!("{callback} void lucos_new_f(void) {{ place[2] = callback; }}");
    assert_eq!(names(&stored), ["callback"]);
    let passed = format!(
        "{callback} static const struct ops ops = {{ callback }};
         void lucos_new_f(void) {{ copy_ops(&ops); }}"
    );
    assert_eq!(names(&passed), ["callback"]);
    let whole = passed.replace("copy_ops(&ops)", "place[0] = (void *)&ops");
    assert_eq!(names(&whole), ["ops"]);
}

#[test]
fn what_stays_in_the_patch_is_not_kept() {
    let own =
        "static const char *last = 0; void lucos_new_f(int x) { last = \"mine\"; look(last); }";
    assert_eq!(names(own), [""; 0]);
    let out = own.replace("look(last)", "if (x) global = last");
    assert_eq!(names(&out), ["\"mine\""]);
    let frame = "void lucos_new_f(int x) { const char *words[] = { \"one\", \"two\" };
        asm volatile(\"\" : : \"r\"(words) : \"memory\"); look(words[x & 1]); }";
    assert_eq!(names(frame), [""; 0]);
}

#[test]
fn what_is_copied_out_of_a_table_is_kept() {
    let table = "static const char *const words[] = { \"one\", \"two\", \"three\" };";
    let picked = format!("{table} void lucos_new_f(int x) {{ global = words[x]; }}");
    assert_eq!(names(&picked), ["\"one\"", "\"two\"", "\"three\""]);
    let copied = format!("{table} void lucos_new_f(char *x) {{ memcpy(place, words, 24); }}");
    assert_eq!(names(&copied), ["\"one\"", "\"two\"", "\"three\""]);
    let read = format!("{table} int lucos_new_f(int x) {{ return words[x][0]; }}");
    assert_eq!(names(&read), [""; 0]);
}

#[test]
fn the_name_of_a_function_is_a_text() {
    let source = "void lucos_new_f(void) { global = __func__; }";
    assert_eq!(names(source), ["\"lucos_new_f\""]);
}

#[test]
fn the_author_may_say_what_does_no_harm() {
    let found = || kept("void lucos_new_f(void) { global = \"a\"; place[0] = \"b\"; }");
    let harmless = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let declared = declared(found(), &names).map_err(|error| error.to_string())?;
        Ok::<_, String>(declared.iter().map(|kept| kept.harmless).collect::<Vec<_>>())
    };
    assert_eq!(harmless(&[]), Ok(vec![false, false]));
    assert_eq!(harmless(&["b"]), Ok(vec![false, true]));
    assert_eq!(harmless(&["\"a\"", "b"]), Ok(vec![true, true]));
    assert_eq!(harmless(&["all"]), Ok(vec![true, true]));
    let error = harmless(&["c"]).unwrap_err();
    assert!(error.contains("--harmless c") && error.contains("\"a\", \"b\""), "{error}");
}

/// What nobody could look into may do anything.
#[test]
fn what_a_function_uses_that_is_too_long_may_be_kept() {
    let source = "static const char *const words[] = { \"one\", \"two\" }; static int count;
        static void callback(void) { nothing(); }
        noinline static int other(void) { return look(\"elsewhere\"); }
        int lucos_new_f(int x) {
            _printk(\"%s\", words[x & 1]); count++; return x ? look((void *)callback) : other(); }";
    assert_eq!(names(source), [""; 0]);
    let mut found: Vec<String> = Vec::new();
    for one in kept_within(8, source) {
        assert_eq!(one.how, ["used by f, which is too long to be followed"], "{}", one.what);
        found.push(one.what);
    }
    found.sort();
    assert_eq!(found, ["\"%s\"", "\"one\"", "\"two\"", "callback", "count", "words"]);
    // It keeps nothing of what it does not use.
    assert_eq!(kept_within(1, "void lucos_new_f(void) { nothing(); nothing(); }").len(), 0);
}

/// Who calls it does not know what it does with what it is given.
#[test]
fn what_is_passed_to_a_function_that_is_too_long_may_be_kept() {
    let source = "noinline static int inner(const char *text, int x) {
            look(text); look(text); look(text + x); return look(text + 2); }
        int lucos_new_f(int x) { return inner(\"passed\", x); }";
    assert_eq!(names(source), [""; 0]);
    let found = kept_within(7, source);
    assert_eq!(found.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(), ["\"passed\""]);
    assert_eq!(found[0].how, ["passed to inner by f"]);
}
