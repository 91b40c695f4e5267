//! Functions as the kernel's options shape them: marks of indirect branch tracking, padding, parts
//! that the compiler makes of them, per-CPU variables, the tables of Linux 6.12.

mod pair;

use lucos_object_diff::SpecialSizes;
use pair::{Pair, relocations, section};

/// A function whose address may be taken already (`KEPT`) and another that takes it (`TAKEN`).
const POINTER: &str = "
    extern int outside(int);
    typedef int function(int);
    static __attribute__((noipa)) int local(int x) { return outside(x) + MORE; }
    int user(int x) { return local(x) * 2; }
    function *kept(void) { return KEPT; }
    function *pointer(void) { return TAKEN; }
";

/// What the new code of `pointer` leads to, for a kernel with or without tracking.
fn new_pointer(kept: &str, taken: &str, ibt: bool) -> String {
    let text = |more: &str, taken: &str| {
        POINTER.replace("MORE", more).replace("KEPT", kept).replace("TAKEN", taken)
    };
    let mut pair = Pair::with_flags(
        &text("3", "outside"),
        &text("4", taken),
        &["-fcf-protection=branch", "-fno-ipa-icf"],
    );
    pair.ibt = ibt;
    assert_eq!(pair.changed(), ["local", "pointer"]);
    let extract = pair.extract();
    let list = relocations(&extract.elf).into_iter().map(|found| found.2);
    let names: Vec<_> = list.filter(|name| name.contains("local")).collect();
    let [name] = names.as_slice() else { panic!("{names:?}") };
    // Behind the dot is what tells new versions apart.
    name.split('.').next().unwrap().to_owned()
}

#[test]
fn a_pointer_to_a_function_without_a_mark_leads_to_its_new_version() {
    assert_eq!(new_pointer("outside", "local", true), "lucos_new_local");
    // Nothing checks marks.
    assert_eq!(new_pointer("outside", "local", false), "local");
    // The old one has a mark.
    assert_eq!(new_pointer("local", "local", true), "local");
}

#[test]
fn a_mark_is_part_of_the_code() {
    let text =
        |kept: &str| POINTER.replace("MORE", "3").replace("KEPT", kept).replace("TAKEN", "outside");
    let flags = ["-fcf-protection=branch", "-fno-ipa-icf"];
    let pair = Pair::with_flags(&text("outside"), &text("local"), &flags);
    assert_eq!(pair.changed(), ["local", "kept"]);
    let code = section(&pair.extract().elf, ".text").unwrap();
    let marks = code.windows(4).filter(|bytes| *bytes == [0xf3, 0x0f, 0x1e, 0xfa]).count();
    assert_eq!(marks, 2, "{code:x?}");
}

const PADDED: &str = "
    extern int outside(int);
    int other(int x) { return outside(x) + 1; }
    int user(int x) { return outside(x) + MORE; }
";

#[test]
fn padding_goes_with_its_function() {
    let text = |more: &str| PADDED.replace("MORE", more);
    let flags = ["-fpatchable-function-entry=16,16"];
    assert_eq!(Pair::with_flags(&text("1"), &text("1"), &flags).changed(), [] as [&str; 0]);
    let pair = Pair::with_flags(&text("1"), &text("2"), &flags);
    let comparison = pair.compare();
    assert_eq!(pair.changed(), ["user"]);
    assert_eq!((comparison.new_functions, comparison.removed_functions), (vec![], vec![]));
    assert_eq!((comparison.new_data, comparison.refusals), (vec![], vec![]));
    let extract = pair.extract();
    assert_eq!(extract.replacements[0].name, "user");
    let code = section(&extract.elf, ".text").unwrap();
    assert_eq!(code[..16], [0x90; 16], "its padding is in front");
    assert_ne!(code[16], 0x90);
    assert_eq!(section(&extract.elf, "__patchable_function_entries"), None);
    let main = "
        int lucos_new_user(int); int outside(int x) { return x; }
        int main(void) { return lucos_new_user(40); }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn per_processor_variables_stay_those_of_the_kernel() {
    let before = "
        #define PERCPU __attribute__((section(\".data..percpu\")))
        static PERCPU int count; PERCPU int other;
        int user(int x) {
            asm volatile(\"addl $1, %%gs:%0\" : \"+m\" (count));
            return *(int __seg_gs *)&other + MORE;
        }
        int *place(void) { return &count; }
    ";
    let text = |more: &str| before.replace("MORE", more);
    let pair = Pair::of(&text("1"), &text("2"));
    assert_eq!(pair.changed(), ["user"]);
    let extract = pair.extract();
    let mut names: Vec<_> =
        extract.references.iter().map(|found| (found.name.as_str(), found.is_static)).collect();
    names.sort_unstable();
    assert_eq!(names, [("count", true), ("other", false)]);
    assert_eq!(section(&extract.elf, ".data..percpu"), None, "no copy of them");
    let swapped = text("1").replace("\"+m\" (count)", "\"+m\" (other)");
    assert_eq!(Pair::of(&text("1"), &swapped).changed(), ["user"]);
}

#[test]
fn a_function_without_its_unused_parameters_is_replaced_as_that() {
    let before = "
        extern int outside(int);
        struct thing { int a; int b; };
        static __attribute__((noinline)) int local(struct thing *thing, int y)
            { return outside(thing->b) + y; }
        int user(struct thing *thing) { return local(thing, 1) * 2; }
        int more(struct thing *thing, int x) { return local(thing, x) * 3; }
    ";
    let pair = Pair::of(before, &before.replace("+ y", "+ y + 5"));
    assert_eq!(pair.changed(), ["local.isra.0"]);
    let extract = pair.extract();
    assert_eq!(extract.replacements[0].name, "local.isra.0");
    assert!(extract.replacements[0].is_static);
    // Numbered anew behind another one.
    let one_more = "
        static __attribute__((noinline)) int added(struct thing *thing, int y)
            { return outside(thing->a) - y; }
        int early(struct thing *thing, int x) { return added(thing, x) + added(thing, 3); }
        static __attribute__((noinline)) int local";
    let after = before.replace("static __attribute__((noinline)) int local", one_more);
    assert_eq!(Pair::of(before, &after).changed(), [] as [&str; 0]);
}

#[test]
fn a_part_split_off_is_a_function_of_its_own() {
    let before = "
        extern int outside(int);
        static int local(int *x) {
            if (!x) return 0;
            for (int i = 0; i < *x; i++) { outside(i); outside(i * 3); outside(i * 5); }
            outside(*x + 7); outside(*x + 8); outside(*x + 9); outside(*x + 10);
            return outside(MORE);
        }
        int user(int *x) { return local(x) * 2; }
        int more(int *x) { return local(x) * 3; }
        int last(int *x) { return local(x) * 5; }
    ";
    let text = |more: &str| before.replace("MORE", more);
    assert_eq!(Pair::of(&text("1"), &text("1")).changed(), [] as [&str; 0]);
    let pair = Pair::of(&text("1"), &text("2"));
    assert_eq!(pair.changed(), ["local.part.0"]);
    assert_eq!(pair.extract().replacements[0].name, "local.part.0");
}

/// Two alternatives, with the entries of Linux 6.12.
const ALTERNATIVE: &str = "
    #define FEATURE(number) asm volatile(\"661: .byte 0x0f,0x1f,0x44,0,0\\n662:\\n\" \
        \".pushsection .altinstructions,\\\"a\\\"\\n.long 661b - .\\n.long 663f - .\\n\" \
        \".4byte \" #number \"\\n.byte 662b-661b\\n.byte 664f-663f\\n.popsection\\n\" \
        \".pushsection .altinstr_replacement,\\\"ax\\\"\\n663: .byte 0x0f,0x1f,0x44,0,\" #number \
        \"\\n664:\\n.popsection\")
    int first(int x) { FEATURE(1); return x; }
    int user(int x) { FEATURE(2); return x + MORE; }
";

#[test]
fn alternatives_of_linux_6_12_are_longer() {
    let text = |more: &str| ALTERNATIVE.replace("MORE", more);
    let newer =
        |after: &str| Pair { sizes: SpecialSizes::LINUX_6_12, ..Pair::of(&text("1"), after) };
    assert_eq!(newer(&text("1")).changed(), [] as [&str; 0]);
    // A mark in the part that older kernels do not have.
    let marked = text("1")
        .replace("FEATURE(2)", "FEATURE(0x10002)")
        .replace("#number \\\n        \"\\\\n664", "\"2\" \\\n        \"\\\\n664");
    assert!(newer(&marked).changed().contains(&"user".to_owned()), "{marked}");
    let pair = newer(&text("2"));
    assert_eq!(pair.changed(), ["user"]);
    let elf = pair.extract().elf;
    assert_eq!(section(&elf, ".altinstructions").unwrap()[8..], [2, 0, 0, 0, 5, 5]);
    assert_eq!(section(&elf, ".altinstr_replacement").unwrap(), [0x0f, 0x1f, 0x44, 0, 2]);
    let list = relocations(&elf);
    let table: Vec<_> = list.iter().filter(|found| found.0 == ".altinstructions").collect();
    assert_eq!((table[0].1, table[0].2.as_str(), table[1].1), (0, "lucos_new_user", 4));
    let error = Pair::of(&text("1"), &text("2")).try_compare().unwrap_err().to_string();
    assert!(error.contains(".altinstructions has no whole number of entries of 12"), "{error}");
}
