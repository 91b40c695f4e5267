//! Makes patch modules with the host's compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The start of every source: what the kernel's build adds to a module.
const MODULE: &str = r#"
#include <lucos/patch.h>
MODULE_INFO(name, "example");
MODULE_INFO(vermagic, "6.1.0-1-test SMP preempt mod_unload modversions ");
static const struct { unsigned long crc; char name[56]; } versions[]
__used __section("__versions") = {
	{ 1, "lucos_patch_load" }, { 2, "lucos_patch_unload" }, { 3, "__this_module" },
};
"#;

/// A patch of one function.
pub const ONE: &str = r#"
LUCOS_REPLACE(old_function, int, int x) { return x + 1; }
LUCOS_PATCH("example", "adds one");
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

/// How a patch is compiled.
const WITHOUT_TAIL_CALLS: [&str; 2] = ["-fno-optimize-sibling-calls", "-DLUCOS_NO_TAIL_CALLS"];

/// Compiles one source to an object file.
pub fn compile(scratch: &Path, name: &str, source: &str) -> PathBuf {
    compile_with(&WITHOUT_TAIL_CALLS, scratch, name, source)
}

fn compile_with(flags: &[&str], scratch: &Path, name: &str, source: &str) -> PathBuf {
    let (input, output) = (scratch.join(format!("{name}.c")), scratch.join(format!("{name}.o")));
    std::fs::write(&input, source).unwrap();
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Werror", "-fno-pic", "-mcmodel=kernel", "-c", "-I"])
        .arg(folder().join("tests/stubs"))
        .arg("-I")
        .arg(folder().join("../include"))
        .args(flags)
        .arg(&input)
        .arg("-o")
        .arg(&output)
        .output()
        .expect("a C compiler named cc");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    output
}

/// A module from one source.
pub fn module(source: &str) -> Vec<u8> {
    module_with(&WITHOUT_TAIL_CALLS, source)
}

/// A module from one source, with these flags of the compiler.
pub fn module_with(flags: &[&str], source: &str) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let object = compile_with(flags, scratch.path(), "module", &format!("{MODULE}{source}"));
    std::fs::read(object).unwrap()
}

/// A module from two sources, linked as the kernel's build does it.
pub fn module_of_two(first: &str, second: &str) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let first = compile(scratch.path(), "first", first);
    let second = compile(scratch.path(), "second", &format!("{MODULE}{second}"));
    let output = scratch.path().join("module.ko");
    let linked =
        Command::new("ld").args(["-r", "-o"]).arg(&output).args([first, second]).status().unwrap();
    assert!(linked.success());
    std::fs::read(output).unwrap()
}
