//! Constants that the original object has too are the kernel's own.

mod pair;

use std::collections::BTreeMap;

use lucos_object_diff::{Extract, KernelPlace, Links};
use pair::{Pair, relocations, symbols};

/// The pair with one more line at the start of `f`.
fn changed(source: &str, flags: &[&str]) -> Pair {
    let after = source.replace("/* here */", "if (x == 77) return 0;");
    assert_ne!(source, after);
    Pair::with_flags(source, &after, flags)
}

/// Cuts out with the kernel's own constants, all of which are at `kernel`, a page apart.
fn shared(pair: &Pair) -> (Extract, Extract) {
    let first = pair.extract();
    let place = |number: i64| KernelPlace { symbol: "kernel".into(), distance: number * 0x1000 };
    let constants: BTreeMap<_, _> =
        first.constants.iter().map(|constant| constant.id).zip((1..).map(place)).collect();
    let links = Links { constants, ..Links::default() };
    let last = pair.try_extract(&links).expect("a cut-out");
    (first, last)
}

/// The texts that are found to be the kernel's.
fn texts(extract: &Extract) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    extract.constants.iter().map(|constant| text(&constant.bytes)).collect()
}

fn uses_of_kernel(extract: &Extract) -> usize {
    relocations(&extract.elf).iter().filter(|(_, _, symbol, _)| symbol == "kernel").count()
}

#[test]
fn a_text_is_the_kernels_and_a_new_one_is_not() {
    let before = "const char *last; int f(int x) { /* here */ last = \"old text\"; return x; }";
    let after = before.replace("/* here */", "if (x == 77) { last = \"new text\"; return 0; }");
    let pair = Pair::of(before, &after);
    let (first, last) = shared(&pair);
    assert_eq!(texts(&first), ["old text\0"]);
    assert_eq!(first.constants[0].sites.len(), 1);
    assert_eq!(first.constants[0].sites[0].function, "f");
    assert_eq!(uses_of_kernel(&last), 1);
    let bytes = String::from_utf8_lossy(&last.elf).into_owned();
    assert!(bytes.contains("new text") && !bytes.contains("old text"));
}

#[test]
fn the_functions_own_name_is_the_kernels() {
    let source = "const char *last; int f(int x) { /* here */ last = __func__; return x; }";
    let (first, last) = shared(&changed(source, &[]));
    assert_eq!(texts(&first), ["f\0"]);
    assert_eq!(uses_of_kernel(&last), 1);
    assert!(!symbols(&last.elf).iter().any(|name| name.starts_with("__func__")));
}

#[test]
fn a_table_of_the_compiler_is_the_kernels() {
    let source = "int f(int x) { /* here */ switch (x) { case 0: return 9; case 1: return 2;
        case 2: return 77; case 3: return 5; case 4: return 31; case 5: return 1; } return 0; }";
    let (first, last) = shared(&changed(source, &[]));
    assert_eq!(first.constants.len(), 1);
    assert!(symbols(&first.elf).iter().any(|name| name.starts_with("CSWTCH")));
    assert_eq!(uses_of_kernel(&last), 1);
    assert!(!symbols(&last.elf).iter().any(|name| name.starts_with("CSWTCH")));
}

#[test]
fn a_table_with_texts_is_the_kernels_with_them() {
    let source = "extern void use(const char **); int f(int x) { /* here */
        const char *words[] = { \"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\" };
        use(words); return x; }";
    let (first, last) = shared(&changed(source, &["-mgeneral-regs-only"]));
    assert!(!first.constants.is_empty());
    assert!(uses_of_kernel(&last) > 0);
    let holders: usize = first.constants.iter().map(|constant| constant.holders.len()).sum();
    let sites: usize = first.constants.iter().map(|constant| constant.sites.len()).sum();
    assert!(holders + sites > 0);
}

#[test]
fn a_text_in_data_tells_where_it_is() {
    let before = "const char *const words[] = { \"only here\", \"b\" };
        const char *last; int f(int x) { /* here */ last = words[x]; return x; }";
    let after = before.replace("/* here */", "if (x == 77) { last = \"only here\"; return 0; }");
    let (first, _) = shared(&Pair::of(before, &after));
    assert_eq!(texts(&first), ["only here\0"]);
    let holder = &first.constants[0].holders[0];
    assert_eq!((holder.data.name.as_str(), holder.offset, holder.addend), ("words", 0, 0));
}

#[test]
fn a_table_of_jumps_belongs_to_the_code() {
    let cases: String =
        (0..9).map(|number| format!("case {number}: g{number}(); break; ")).collect();
    let functions: String = (0..9).map(|number| format!("void g{number}(void); ")).collect();
    let source =
        format!("{functions} int f(int x) {{ /* here */ switch (x) {{ {cases} }} return x; }}");
    let (first, last) = shared(&changed(&source, &["-fjump-tables"]));
    assert!(relocations(&first.elf).iter().any(|(section, ..)| section == ".rodata"));
    assert!(first.constants.is_empty());
    assert_eq!(uses_of_kernel(&last), 0);
}

#[test]
fn a_place_inside_a_table_keeps_its_distance() {
    let source = "extern void use(const int *); int f(int x) { /* here */
        switch (x) { case 8: return 9; case 9: return 2; case 10: return 77; case 11: return 5;
        case 12: return 31; case 13: return 1; } return 0; }";
    let (first, last) = shared(&changed(source, &[]));
    assert_eq!(first.constants.len(), 1);
    let place = |extract: &Extract, start: &str| {
        let all = relocations(&extract.elf);
        let found = all.into_iter().find(|(_, _, symbol, _)| symbol.starts_with(start));
        found.expect("a reference").3
    };
    assert_eq!(place(&last, "kernel") - 0x1000, place(&first, "CSWTCH"));
}
