//! The tables of a module for the kernel's own livepatch, so that the same new code can be put in
//! force by either.
//!
//! Such a module is loaded as `lucos resolve` writes it: its other symbols are absolute then, and
//! it needs none of livepatch's relocations.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::description::description;
use crate::patch_module::{PatchModule, Replaced};
use crate::preparation;
use crate::used::KERNEL_OBJECT;

/// What stands behind the tables.
const REST: &str = "\
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };
static int __init start(void)
{
	int error = prepare();

	return error ? error : klp_enable_patch(&patch);
}
static void __exit stop(void)
{
}
module_init(start);
module_exit(stop);
MODULE_LICENSE(\"GPL\");
MODULE_INFO(livepatch, \"Y\");
";

/// The C file with the tables.
pub(crate) fn source(module: &PatchModule<'_>) -> String {
    let mut text = String::from(
        "// SPDX-License-Identifier: GPL-2.0\n\
         #include <linux/livepatch.h>\n#include <linux/module.h>\n",
    );
    let mut objects: BTreeMap<&str, Vec<(usize, &Replaced)>> = BTreeMap::new();
    for (number, function) in module.functions.iter().enumerate() {
        let symbol = &function.new_symbol;
        let _ = writeln!(text, "extern char new{number}[] asm(\"{symbol}\");");
        objects.entry(&function.old.object).or_default().push((number, function));
    }
    let mut table = String::from("static struct klp_object objects[] = {\n");
    for (number, (object, functions)) in objects.iter().enumerate() {
        let _ = writeln!(text, "static struct klp_func functions{number}[] = {{");
        for (number, function) in functions {
            let (name, nth) = (&function.old.name, function.old.nth);
            let _ = writeln!(
                text,
                "\t{{ .old_name = \"{name}\", .old_sympos = {nth}, .new_func = new{number} }},"
            );
        }
        text += "\t{ }\n};\n";
        // Livepatch gives the kernel itself no name.
        let name = match *object {
            KERNEL_OBJECT => String::from("NULL"),
            module => format!("\"{module}\""),
        };
        let _ = writeln!(table, "\t{{ .name = {name}, .funcs = functions{number} }},");
    }
    text += &table;
    text += "\t{ }\n};\n";
    preparation::write(&mut text, module.keys, module.shifts);
    text += REST;
    text += &module.imports();
    let _ = writeln!(text, "MODULE_DESCRIPTION(\"{}\");", description(module.description));
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::source;
    use crate::patch_module::{PatchModule, Redirector, Replaced};
    use crate::used::Used;

    #[test]
    fn each_object_has_a_table_of_its_functions() {
        let replaced = |name: &str, object: &str, nth| Replaced {
            old: Used { name: name.into(), object: object.into(), nth },
            new_symbol: format!("lucos_new_{name}"),
            expected: None,
        };
        let functions = [
            replaced("f.isra.0", "vmlinux", 2),
            replaced("g", "loop", 0),
            replaced("h", "vmlinux", 0),
        ];
        let module = PatchModule {
            redirector: Redirector::Livepatch,
            name: "p",
            description: "a \"b\"",
            build_id: &[],
            payloads: &[],
            functions: &functions,
            keys: &[],
            shifts: &[],
            spaces: &BTreeSet::from([String::from("SPACE")]),
            kept: &[],
        };
        let text = source(&module);
        for part in [
            "extern char new0[] asm(\"lucos_new_f.isra.0\");",
            "functions0[] = {\n\t{ .old_name = \"g\", .old_sympos = 0, .new_func = new1 },\n\t{ }\n};",
            "{ .old_name = \"f.isra.0\", .old_sympos = 2, .new_func = new0 },\n\t\
             { .old_name = \"h\", .old_sympos = 0, .new_func = new2 },",
            "{ .name = \"loop\", .funcs = functions0 },\n\t{ .name = NULL, .funcs = functions1 },",
            "MODULE_IMPORT_NS(SPACE);",
            "MODULE_DESCRIPTION(\"a 'b'\");",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
