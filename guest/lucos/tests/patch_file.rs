//! Patch modules as files: made with `lucos/patch.h`, read by the command.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use lucos::error::Error;
use lucos::kallsyms::Symbols;
use lucos::patch_file::{ModuleFile, PatchFile};
use lucos::resolve::{self, Sections};
use lucos_guest_interface::patch_module::{PATCH_VERSION, PatchRecord};
use proptest::prelude::{any, prop, proptest};
use support::{ONE, module, module_of_two, module_with};

const KALLSYMS: &str = "\
ffffffff81000000 T old_function
ffffffff81000100 t twice
ffffffff81000200 t twice
ffffffff82000000 D some_data
ffffffffc0000000 t helper\t[loop]
";

struct NoSections;

impl Sections for NoSections {
    fn build_id(&self, _: &str) -> Option<String> {
        None
    }
    fn address(&self, _: &str, _: &str) -> Option<u64> {
        None
    }
}

fn parse(image: Vec<u8>) -> Result<PatchFile, Error> {
    PatchFile::parse(Path::new("example.ko"), image)
}

fn error_code(image: Vec<u8>) -> String {
    parse(image).unwrap_err().code().to_owned()
}

fn names(file: &PatchFile) -> Vec<&str> {
    file.file.undefined.iter().map(|symbol| symbol.name.as_str()).collect()
}

#[test]
fn a_small_patch_is_understood() {
    let file = parse(module(ONE)).unwrap();
    assert_eq!((file.name.as_str(), file.file.module.as_str()), ("example", "example"));
    assert_eq!(file.file.kernel, "6.1.0-1-test");
    assert_eq!(file.functions, ["old_function"]);
    assert_eq!(names(&file), ["old_function"]);
    assert!(file.file.check_kernel("6.1.0-1-test").is_ok());
    let error = file.file.check_kernel("6.1.0-2-test").unwrap_err();
    assert_eq!(
        error.to_string(),
        "example.ko: built for kernel 6.1.0-1-test, but 6.1.0-2-test is running"
    );
}

#[test]
fn every_macro_of_the_header_leaves_its_mark() {
    let file = parse(module(
        r#"
        extern int some_data;
        extern int helper(void) LUCOS_SYMBOL("loop", 0, "helper");
        LUCOS_REPLACE(old_function, int, void) { return some_data + helper(); }
        LUCOS_EXPECT(old_function, 0x55, 0x48, 0x89, 0xe5);
        LUCOS_REPLACE_SELECTED("vmlinux", 2, "twice", second_twice, void, void) { }
        LUCOS_REPLACE_NOINSTR(unseen, void, void) { }
        LUCOS_DEPENDS("another");
        struct operations { int number; int (*call)(void); };
        extern const struct operations table;
        extern unsigned int flags;
        static int turn_off(void) { return 0; }
        static void turn_on(void) { }
        LUCOS_VALUE(table.call, NULL, helper);
        LUCOS_BITS(flags, 1U << 3, 0, 1U << 3);
        LUCOS_DEFAULT(table.number, 5, 6);
        LUCOS_DEFAULT_BITS(flags, 1, 0, 1);
        LUCOS_ON_APPLY(turn_off);
        LUCOS_ON_ROLLBACK(turn_on);
        LUCOS_PATCH_FOR_KERNEL("example", "does much", 4, 1, 2, 3, 4);
        "#,
    ))
    .unwrap();
    assert_eq!(file.values, 4);
    assert_eq!(file.functions, ["old_function", "lucos.select.vmlinux.2.twice", "unseen"]);
    let mut undefined = names(&file);
    undefined.sort_unstable();
    assert_eq!(
        undefined,
        [
            "flags",
            "lucos.select.loop.0.helper",
            "lucos.select.vmlinux.2.twice",
            "old_function",
            "some_data",
            "table",
            "unseen",
        ]
    );
}

#[test]
fn a_patch_may_have_values_or_hooks_only() {
    let values = parse(module(
        r#"
        extern int limit;
        LUCOS_VALUE(limit, 5, 6);
        LUCOS_PATCH("example", "changes a number");
        "#,
    ));
    let values = values.unwrap();
    assert_eq!((values.functions.len(), values.values), (0, 1));
    let hooks = parse(module(
        r#"
        static int once(void) { return 0; }
        LUCOS_ON_APPLY(once);
        LUCOS_PATCH("example", "does something once");
        "#,
    ));
    let hooks = hooks.unwrap();
    assert_eq!((hooks.functions.len(), hooks.values), (0, 0));
}

#[test]
fn resolved_symbols_become_absolute() {
    let source = r#"
        extern int helper(void) LUCOS_SYMBOL("loop", 0, "helper");
        LUCOS_REPLACE(old_function, int, void) { return helper(); }
        LUCOS_REPLACE_SELECTED("vmlinux", 2, "twice", second_twice, void, void) { }
        LUCOS_PATCH("example", "resolves");
        "#;
    let file = parse(module(source)).unwrap();
    let symbols =
        Symbols::read(KALLSYMS.as_bytes(), &resolve::wanted_names(&file.file).unwrap()).unwrap();
    let modules = BTreeMap::from([("loop".to_owned(), 0xffff_ffff_c000_0000)]);
    let resolved = resolve::resolve(&file.file, &symbols, &modules, &NoSections).unwrap();
    let addresses: BTreeSet<u64> =
        resolved.iter().map(|resolved| resolved.candidate.address).collect();
    assert_eq!(
        addresses,
        BTreeSet::from([0xffff_ffff_8100_0000, 0xffff_ffff_8100_0200, 0xffff_ffff_c000_0000])
    );
    assert_eq!(resolve::used_modules(&resolved, &modules), "loop@ffffffffc0000000");
    let image = resolve::rewrite(&file.file, &resolved).unwrap();
    let changed = image.iter().zip(&file.file.image).filter(|(new, old)| new != old).count();
    assert!(changed <= resolved.len() * 10, "{changed} bytes changed");
    assert_eq!(names(&parse(image).unwrap()), [""; 0]);
}

#[test]
fn any_module_is_resolved() {
    let text = "extern int old_function(int); int f(void) { return old_function(1); }";
    let image = module(text);
    assert_eq!(error_code(image.clone()), "NOT_PATCH");
    let file = ModuleFile::parse(Path::new("example.ko"), image).unwrap();
    let wanted = resolve::wanted_names(&file).unwrap();
    let symbols = Symbols::read(KALLSYMS.as_bytes(), &wanted).unwrap();
    let resolved = resolve::resolve(&file, &symbols, &BTreeMap::new(), &NoSections).unwrap();
    let image = resolve::rewrite(&file, &resolved).unwrap();
    let file = ModuleFile::parse(Path::new("example.ko"), image).unwrap();
    assert!(file.undefined.is_empty());
    assert_eq!((file.module.as_str(), file.kernel.as_str()), ("example", "6.1.0-1-test"));
}

#[test]
fn a_function_in_another_file_is_noticed() {
    let helper = "int helper(int x) { return x; }";
    assert!(parse(module_of_two(helper, ONE)).is_ok());
    let stray = "#include <lucos/patch.h>\nLUCOS_REPLACE(stray, void, void) { }";
    let error = parse(module_of_two(stray, ONE)).unwrap_err();
    assert!(error.to_string().contains("not every LUCOS_REPLACE"), "{error}");
    let behind = format!("{ONE}LUCOS_REPLACE(late, void, void) {{ }}");
    assert_eq!(error_code(module(&behind)), "MALFORMED");
}

#[test]
fn a_patch_with_tail_calls_is_refused() {
    let source = r#"
        int later(int x);
        LUCOS_REPLACE(old_function, int, int x) { return later(x + 1); }
        LUCOS_PATCH("example", "ends in a call");
        "#;
    assert!(parse(module(source)).is_ok());
    let unsaid = parse(module_with(&["-fno-optimize-sibling-calls"], ONE)).unwrap_err();
    assert_eq!(unsaid.code(), "TAIL_CALLS");
    let text = unsaid.to_string();
    assert!(text.starts_with("example.ko: built with tail calls, so"), "{text}");
    // What the module says of itself is not enough.
    assert!(parse(module_with(&["-DLUCOS_NO_TAIL_CALLS"], ONE)).is_ok());
    let untrue = parse(module_with(&["-DLUCOS_NO_TAIL_CALLS"], source)).unwrap_err();
    let text = untrue.to_string();
    assert!(text.contains("(lucos_new_old_function ends in one of later)"), "{text}");
    // The others of the module's own are in its text.
    let own = source.replace("int later(int x);", "static noinline int later(int x) { return x; }");
    assert!(parse(module_with(&["-DLUCOS_NO_TAIL_CALLS"], &own)).is_ok());
}

#[test]
fn what_is_no_patch_has_its_own_error() {
    assert_eq!(error_code(Vec::new()), "NOT_ELF");
    assert_eq!(error_code(b"#!/bin/sh\n".to_vec()), "NOT_ELF");
    assert_eq!(error_code(b"\x7fELF".to_vec()), "TRUNCATED");
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(error_code(program), "NOT_MODULE");
    assert_eq!(error_code(module("int x;")), "NOT_PATCH");
    let mut other_machine = module(ONE);
    other_machine[18] = 3;
    assert_eq!(error_code(other_machine), "NOT_MODULE");
    let missing = PatchFile::read(Path::new("/nonexistent.ko")).unwrap_err();
    assert_eq!(missing.code(), "READ");
}

#[test]
fn another_version_of_the_header_is_named() {
    let mut image = module(ONE);
    // The record starts with its version and its size, and the name follows.
    let size = u32::try_from(PatchRecord::SIZE).unwrap();
    let record = [PATCH_VERSION.to_le_bytes(), size.to_le_bytes()].concat();
    let place = image
        .windows(15)
        .position(|window| window.starts_with(&record) && window.ends_with(b"example"));
    image[place.unwrap()] = 9;
    let error = parse(image).unwrap_err();
    let expected = format!("made with version 9 of the patch header, not {PATCH_VERSION}");
    assert_eq!(error.to_string(), format!("example.ko: {expected}"));
}

#[test]
fn a_name_that_is_too_long_does_not_compile() {
    let long = "x".repeat(64);
    let source = format!("LUCOS_REPLACE({long}, void, void) {{ }}\n{ONE}");
    assert!(std::panic::catch_unwind(|| module(&source)).is_err());
    let fits = "x".repeat(63);
    let source = format!("LUCOS_REPLACE({fits}, void, void) {{ }}\n{ONE}");
    assert_eq!(parse(module(&source)).unwrap().functions, [fits.as_str(), "old_function"]);
}

#[test]
fn a_truncated_file_is_called_that() {
    let image = module(ONE);
    for length in (64..image.len()).step_by(61) {
        assert_eq!(error_code(image[..length].to_vec()), "TRUNCATED", "{length} bytes");
    }
}

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| module(ONE));

proptest! {
    #[test]
    fn damaged_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let mut image = IMAGE.clone();
        for (position, value) in changes {
            let position = position.index(image.len());
            image[position] = value;
        }
        if let Ok(file) = parse(image) {
            let _ = resolve::wanted_names(&file.file);
        }
    }

    #[test]
    fn damaged_headers_never_panic(
        changes in prop::collection::vec((0_usize..64, any::<u8>()), 1..8),
    ) {
        let mut image = IMAGE.clone();
        for (position, value) in changes {
            image[position] = value;
        }
        let _ = parse(image);
    }
}
