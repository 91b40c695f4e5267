//! The kernel's tables about code: what they say belongs to the function, and goes along with it.

mod pair;

use lucos_object_diff::{Class, DataDifference, Links, Note, Reason};
use pair::{Pair, relocations, section};

/// A warning as the kernel's `WARN_ON` makes one.
const WARNING: &str = "
    static inline __attribute__((always_inline)) void warn(int flags) {
        asm volatile(\"1: ud2\\n\"
            \".pushsection __bug_table,\\\"aw\\\"\\n\"
            \".long 1b - .\\n.long %c0 - .\\n.word %c1\\n.word %c2\\n.org .-12+12\\n\"
            \".popsection\" : : \"i\" (\"file.c\"), \"i\" (LINE), \"i\" (flags));
    }
    int other(int x) { if (x == 1) warn(7); return x; }
    int user(int x) { if (x == 3) warn(2); return x; }
";

fn warning(line: u32) -> String {
    WARNING.replace("LINE", &line.to_string())
}

#[test]
fn a_warning_whose_line_moves_is_the_same_warning() {
    assert_eq!(Pair::of(&warning(10), &warning(11)).changed(), [] as [&str; 0]);
}

#[test]
fn a_warning_with_other_flags_is_another_one() {
    let pair = Pair::of(&warning(10), &warning(12).replace("warn(2)", "warn(4)"));
    assert_eq!(pair.changed(), ["user"]);
    let elf = pair.extract().elf;
    let table = section(&elf, "__bug_table").unwrap();
    assert_eq!(table.len(), 12, "the entry of the other function stays behind");
    assert_eq!(table[8..], [12, 0, 4, 0]);
    let list = relocations(&elf);
    let names: Vec<_> = list.iter().filter(|found| found.0.ends_with("__bug_table")).collect();
    assert_eq!(names[0].2, "lucos_new_user");
    assert_eq!(names[1].2, ".rodata");
    assert_eq!(section(&elf, ".rodata").unwrap(), b"file.c\0");
}

#[test]
fn a_fault_handler_belongs_to_its_instruction() {
    let before = "
        int user(int *from) {
            int value = 0;
            asm volatile(\"1: movl %1, %0\\n2:\\n\"
                \".pushsection __ex_table,\\\"a\\\"\\n.long 1b - .\\n.long 2b - .\\n.long KIND\\n\"
                \".popsection\" : \"+r\" (value) : \"m\" (*from));
            return value;
        }
        int other(int *from) { return user(from) + 1; }
    ";
    let kind = |kind: &str| before.replace("KIND", kind);
    assert_eq!(Pair::of(&kind("3"), &kind("3")).changed(), [] as [&str; 0]);
    let pair = Pair::with_flags(&kind("3"), &kind("5"), &["-fno-inline"]);
    assert_eq!(pair.changed(), ["user"]);
    let elf = pair.extract().elf;
    assert_eq!(section(&elf, "__ex_table").unwrap()[8..], [5, 0, 0, 0]);
    let list = relocations(&elf);
    let own: Vec<_> = list.iter().filter(|found| found.0.ends_with("__ex_table")).collect();
    assert_eq!(own.len(), 2);
    assert!(own.iter().all(|found| found.2 == "lucos_new_user"), "{own:?}");
    assert_eq!(own[1].3 - own[0].3, 2, "the handler is behind the instruction of two bytes");
}

/// An alternative with a replacement that calls, and a detour through `.altinstr_aux`.
const ALTERNATIVE: &str = "
    int calls;
    __attribute__((noinline)) void slow(void) { calls++; }
    int user(int x) {
        asm volatile(\"661: .byte 0x0f,0x1f,0x44,0,0\\n662:\\n\"
            \".pushsection .altinstructions,\\\"a\\\"\\n\"
            \".long 661b - .\\n.long 663f - .\\n.word FEATURE\\n.byte 662b-661b\\n.byte 664f-663f\\n\"
            \".popsection\\n\"
            \".pushsection .altinstr_replacement,\\\"ax\\\"\\n663: call slow\\n664:\\n.popsection\"
            : : : \"memory\", \"rax\");
        asm goto(\"jmp 6f\\n\"
            \".pushsection .altinstr_aux,\\\"ax\\\"\\n\"
            \"6: testb $1, calls(%%rip)\\njnz %l[yes]\\njmp %l[no]\\n.popsection\" : : : \"cc\" : yes, no);
    yes: return x + MORE;
    no: return x;
    }
";

#[test]
fn an_alternative_goes_along_with_its_replacement() {
    let text =
        |feature: &str, more: &str| ALTERNATIVE.replace("FEATURE", feature).replace("MORE", more);
    assert_eq!(Pair::of(&text("3", "1"), &text("3", "1")).changed(), [] as [&str; 0]);
    assert_eq!(Pair::of(&text("3", "1"), &text("4", "1")).changed(), ["user"]);
    let pair = Pair::of(&text("3", "1"), &text("3", "200"));
    assert_eq!(pair.changed(), ["user"]);
    let elf = pair.extract().elf;
    assert_eq!(section(&elf, ".altinstructions").unwrap()[8..], [3, 0, 5, 5]);
    assert_eq!(section(&elf, ".altinstr_replacement").unwrap(), [0xe8, 0, 0, 0, 0]);
    let list = relocations(&elf);
    let of = |name: &str| list.iter().filter(|found| found.0 == name).count();
    assert_eq!((of(".altinstructions"), of(".altinstr_replacement")), (2, 1));
    let main = "
        extern int calls; int lucos_new_user(int);
        int main(void) {
            int first = lucos_new_user(1);
            calls = 1;
            return first == 1 && lucos_new_user(1) == 201 ? 42 : 1;
        }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn another_replacement_is_a_change() {
    let before = ALTERNATIVE.replace("FEATURE", "3").replace("MORE", "1");
    let after = before.replace("663: call slow", "663: jmp slow");
    assert_eq!(Pair::of(&before, &after).changed(), ["user"]);
}

/// A jump label as the kernel makes one, with its NOP in place already.
const LABEL: &str = "
    struct key { int enabled; long type; } key, other;
    static inline __attribute__((always_inline)) int branch(struct key *key) {
        asm goto(\"1: .byte 0x0f,0x1f,0x44,0,0\\n\"
            \".pushsection __jump_table,\\\"aw\\\"\\n.balign 8\\n.long 1b - .\\n\"
            \".long %l[yes] - .\\n.quad %c0 + 1 - .\\n.popsection\" : : \"i\" (key) : : yes);
        return 0;
    yes: return 1;
    }
    int user(int x) { return branch(&key) ? x : x + 1; }
    int neighbour(int x) { return branch(&other) ? x : x + 2; }
";

#[test]
fn a_jump_label_keeps_its_key() {
    let pair = Pair::of(LABEL, &LABEL.replace("x : x + 1", "x : x + 3"));
    assert_eq!(pair.changed(), ["user"]);
    let elf = pair.extract().elf;
    let list = relocations(&elf);
    let table: Vec<_> = list.iter().filter(|found| found.0 == "__jump_table").collect();
    assert_eq!(section(&elf, "__jump_table").unwrap().len(), 16);
    let names: Vec<_> = table.iter().map(|found| (found.2.as_str(), found.1)).collect();
    assert_eq!(names, [("lucos_new_user", 0), ("lucos_new_user", 4), ("key", 8)]);
    assert_eq!(table[2].3, 1, "the low bits tell which way the branch goes");
}

#[test]
fn a_key_that_is_read_only_is_copied() {
    let links = lucos_object_diff::Links {
        read_only_keys: ["key".to_owned()].into(),
        ..Default::default()
    };
    let extract_from = |label: &str| {
        let pair = Pair::of(label, &label.replace("x : x + 1", "x : x + 3"));
        pair.try_extract(&links).unwrap()
    };
    let extract = extract_from(LABEL);
    let [copied] = extract.copied_keys.as_slice() else { panic!("{extract:?}") };
    assert_eq!(copied.original, "key");
    let list = relocations(&extract.elf);
    let table: Vec<_> = list.iter().filter(|found| found.0 == "__jump_table").collect();
    assert_eq!((table[2].2.as_str(), table[2].3), (copied.copy.as_str(), 1));
    // A NOP where the branch is likely: the key is defined as true.
    let data = section(&extract.elf, ".data").unwrap();
    assert_eq!(data, [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(extract.references.iter().any(|reference| reference.name == "key"));
    // A NOP where it is unlikely: as false.
    let extract = extract_from(&LABEL.replace("%c0 + 1", "%c0"));
    assert_eq!(section(&extract.elf, ".data").unwrap(), [0; 16]);
}

#[test]
fn another_key_is_a_change() {
    let pair = Pair::of(LABEL, &LABEL.replace("branch(&key)", "branch(&other)"));
    assert_eq!(pair.changed(), ["user"]);
}

#[test]
fn tables_of_places_are_cut_by_function() {
    let before = "
        #define MARK asm volatile(\"1: nop\\n\" \
            \".pushsection .return_sites,\\\"a\\\"\\n.long 1b - .\\n.popsection\\n\" \
            \".pushsection __mcount_loc,\\\"a\\\"\\n.quad 1b\\n.popsection\\n\" \
            \".pushsection .static_call_sites,\\\"aw\\\"\\n.long 1b - .\\n.long key - .\\n.popsection\\n\" \
            \".pushsection .parainstructions,\\\"a\\\"\\n.quad 1b\\n.byte 3,5\\n.balign 8\\n.popsection\\n\" \
            \".pushsection .discard.reachable\\n.long 1b - .\\n.popsection\\n\" \
            \".pushsection .retpoline_sites,\\\"a\\\"\\n.long 1b - .\\n.popsection\\n\" \
            \".pushsection .call_sites,\\\"a\\\"\\n.long 1b - .\\n.popsection\\n\" \
            \".pushsection .ibt_endbr_seal,\\\"a\\\"\\n.long 1b - .\\n.popsection\\n\" \
            \".pushsection __patchable_function_entries,\\\"aw\\\"\\n.quad 1b\\n.popsection\\n\" \
            \".pushsection .smp_locks,\\\"a\\\"\\n.long 1b - .\\n.popsection\\n\" \
            \".pushsection .orc_unwind_ip,\\\"a\\\"\\n.long 1b - .\\n.popsection\\n\" \
            \".pushsection .orc_unwind,\\\"a\\\"\\n.word SITE,0,0\\n.popsection\\n\")
        int key;
        int first(int x) { MARK; return x; }
        int user(int x) { MARK; return x + 1; }
    ";
    let source = before.replace("SITE", "17");
    let pair = Pair::of(&source, &source.replace("x + 1", "x + 2"));
    assert_eq!(pair.changed(), ["user"]);
    let elf = pair.extract().elf;
    let length = |name: &str| section(&elf, name).map(|bytes| bytes.len());
    assert_eq!(length(".return_sites"), Some(4));
    assert_eq!(length("__mcount_loc"), Some(8));
    assert_eq!(length(".static_call_sites"), Some(8));
    assert_eq!(length(".parainstructions"), Some(16));
    assert_eq!(length(".discard.reachable"), Some(4));
    assert_eq!(length(".retpoline_sites"), Some(4));
    assert_eq!(length(".call_sites"), Some(4));
    assert_eq!(length(".ibt_endbr_seal"), None, "modules keep their marks");
    assert_eq!(length("__patchable_function_entries"), None, "made anew for a module");
    assert_eq!(length(".smp_locks"), None, "an optimisation for one processor");
    assert_eq!(length(".orc_unwind_ip"), Some(4));
    assert_eq!(section(&elf, ".orc_unwind").unwrap(), [17, 0, 0, 0, 0, 0]);
    let places = [
        (".return_sites", "lucos_new_user"),
        (".retpoline_sites", "lucos_new_user"),
        (".call_sites", "lucos_new_user"),
        ("__mcount_loc", "lucos_new_user"),
        (".orc_unwind_ip", "lucos_new_user"),
        // The object checker wants its notes to name places by sections.
        (".discard.reachable", ".text"),
    ];
    for (name, place) in places {
        let list = relocations(&elf);
        let own: Vec<_> = list.iter().filter(|found| found.0 == name).collect();
        assert_eq!(own.len(), 1, "{name}");
        assert_eq!(own[0].2, place, "{name}");
    }
}

#[test]
fn a_table_of_the_wrong_size_is_an_error() {
    let source = "
        asm(\".pushsection __bug_table,\\\"aw\\\"\\n.long 0,0,0,0\\n.popsection\");
        int user(int x) { return x; }
    ";
    let pair = Pair::of(source, source);
    let error = pair.try_compare().unwrap_err().to_string();
    assert!(error.contains("__bug_table has no whole number of entries of 12 bytes"), "{error}");
}

#[test]
fn a_constant_filled_in_during_boot_becomes_a_load() {
    let before = "
        unsigned long LIMIT = 77;
        int user(unsigned long x) {
            unsigned long limit;
            asm(\"mov %1,%0\\n1:\\n.pushsection runtime_ptr_LIMIT,\\\"a\\\"\\n\"
                \".long 1b - 8 - .\\n.popsection\" : \"=r\" (limit) : \"i\" (0x0123456789abcdefUL));
            return x > limit ? 1 : 0;
        }
    ";
    let pair = Pair::of(before, &before.replace("? 1 : 0", "? 3 : 5"));
    assert_eq!(pair.changed(), ["user"]);
    let elf = pair.extract().elf;
    assert_eq!(section(&elf, "runtime_ptr_LIMIT"), None);
    let main = "
        int lucos_new_user(unsigned long);
        int main(void) {
            return lucos_new_user(78) == 3 && lucos_new_user(77) == 5 ? 42 : 1;
        }";
    assert_eq!(pair.run(main), 42);
}

/// A shift as the kernel's `runtime_const_shift_right_32`.
const SHIFT: &str = "
    unsigned int BITS;
    int user(unsigned int x) {
        asm(\"shrl $12,%k0\\n1:\\n.pushsection runtime_shift_BITS,\\\"a\\\"\\n\"
            \".long 1b - 1 - .\\n.popsection\" : \"+r\" (x));
        return x + 1;
    }
";

#[test]
fn a_shift_that_is_filled_in_during_boot_is_in_a_table_for_the_module() {
    let pair = Pair::of(SHIFT, &SHIFT.replace("x + 1", "x + 3"));
    assert_eq!(pair.changed(), ["user"]);
    let extract = pair.extract();
    let shifts = extract.shifts.clone().expect("a table");
    assert_eq!(shifts.count, 1);
    let symbol = &shifts.symbol;
    // The program does what the module will do.
    let main = format!(
        "int lucos_new_user(unsigned int);
        extern unsigned int BITS;
        extern struct {{ unsigned char *site; unsigned int *variable; }} shifts[] asm(\"{symbol}\");
        int mprotect(void *, unsigned long, int);
        int main(void) {{
            unsigned long page = (unsigned long)shifts[0].site & -4096UL;
            BITS = 4;
            if (mprotect((void *)page, 8192, 7) || shifts[0].variable != &BITS) return 1;
            if (*shifts[0].site != 12) return 2;
            *shifts[0].site = *shifts[0].variable;
            return lucos_new_user(0x270);
        }}"
    );
    assert_eq!(pair.run(&main), 42);
}

#[test]
fn only_a_shift_is_filled_in() {
    let other = SHIFT.replace("shrl", "addl");
    let pair = Pair::of(&other, &other.replace("x + 1", "x + 3"));
    let refusal = pair.try_extract(&Links::default()).expect_err("no shift");
    assert!(refusal.to_string().contains("runtime_shift_BITS marks an unknown instruction"));
}

#[test]
fn what_must_not_be_probed_stays_so() {
    let before = "
        int user(int x) { return x + 1; }
        static unsigned long __attribute__((used, section(\"_kprobe_blacklist\")))
            _kbl_addr_user = (unsigned long)user;
        int other(int x) { return x + 2; }
    ";
    let pair = Pair::of(before, &before.replace("x + 1", "x + 3"));
    assert_eq!(pair.changed(), ["user"]);
    let list = relocations(&pair.extract().elf);
    let fence: Vec<_> = list.iter().filter(|found| found.0.ends_with("blacklist")).collect();
    assert_eq!(fence.len(), 1, "{list:?}");
    assert_eq!((fence[0].2.as_str(), fence[0].3), ("lucos_new_user", 0));
}

/// What `module_param_cb` makes.
const PARAMETER: &str = "
    struct operations { int (*set)(int); };
    struct parameter { const char *name; const struct operations *operations; int *value; };
    static int limit;
    static int set_any(int x) { limit = x; return 0; }
    static const struct operations any = { set_any };
    static const char name_limit[] = \"limit\";
    static const struct parameter __attribute__((used, section(\"__param\"), aligned(8)))
        __param_limit = { name_limit, &any, &limit };
    int user(int x) { return x + limit; }
";

#[test]
fn a_parameter_that_is_set_in_another_way_is_refused() {
    assert!(Pair::of(PARAMETER, PARAMETER).compare().is_empty());
    let after = PARAMETER
        .replace(
            "static const char name_limit",
            "static int set_few(int x) { if (x > 9) return -1; limit = x; return 0; }
             static const struct operations few = { set_few };
             static const char name_limit",
        )
        .replace("name_limit, &any", "name_limit, &few")
        .replace("x + limit", "x - limit");
    let comparison = Pair::of(PARAMETER, &after).compare();
    let [Reason::Data(change)] = comparison.refusals.as_slice() else { panic!("{comparison:?}") };
    assert_eq!((change.name.as_str(), change.section.as_str()), ("__param_limit", "__param"));
    let (before, after) = ("any".to_owned(), "few".to_owned());
    assert_eq!(change.difference, DataDifference::Pointer { offset: 8, before, after });
    assert_eq!(comparison.class(), Class::Data);
}

#[test]
fn a_new_parameter_is_refused() {
    let after = format!(
        "{PARAMETER} static const struct parameter __attribute__((used, section(\"__param\")))
            __param_more = {{ name_limit, &any, &limit }};"
    );
    let comparison = Pair::of(PARAMETER, &after).compare();
    let (section, what) = ("__param".into(), "__param_more is new".into());
    assert_eq!(comparison.refusals, [Reason::Table { section, what }]);
}

/// Entries without names, as `DECLARE_PCI_FIXUP_RESUME` makes them.
const FIXUPS: &str = "
    #define FIXUP(device, function) asm(\".pushsection .pci_fixup_resume,\\\"a\\\"\\n.balign 8\\n\" \
        \".long \" #device \"\\n.long \" #function \" - .\\n.popsection\");
    int one(int x) { return x + 1; }
    int two(int x) { return x + 2; }
    FIXUP(0x1234, one)
";

#[test]
fn a_list_without_names_is_compared() {
    let list = |entries: &str| FIXUPS.replace("FIXUP(0x1234, one)", entries);
    let first = "FIXUP(0x1234, one)";
    assert!(Pair::of(FIXUPS, &list(first)).compare().is_empty());
    let refusals = |entries: &str| Pair::of(FIXUPS, &list(entries)).compare().refusals;
    let changed = |what: &str| {
        let (section, what) = (".pci_fixup_resume".to_owned(), what.to_owned());
        vec![Reason::Table { section, what }]
    };
    let longer = "FIXUP(0x1234, one) FIXUP(0x1235, two)";
    assert_eq!(refusals(longer), changed("8 bytes become 16"));
    assert_eq!(refusals("FIXUP(0x1235, one)"), changed("byte +0x0 from 0x34 to 0x35"));
    assert_eq!(refusals("FIXUP(0x1234, two)"), changed("+0x4 from one to two"));
    assert_eq!(refusals(""), changed("it goes"));
    let new = Pair::of(&list(""), FIXUPS).compare().refusals;
    assert_eq!(new, changed("it is new"));
}

/// A queue, and what `subsys_initcall` makes.
const QUEUE: &str = "
    #define INIT __attribute__((section(\".init.text\"), used))
    #define INITCALL(function) asm(\".pushsection .initcall4.init,\\\"a\\\"\\n__initcall_\" #function \
        \":\\n.long \" #function \" - .\\n.popsection\");
    static int *queue; static int memory;
    static int INIT early(void) { memory = 1; return 0; }
    INITCALL(early)
    int user(int x) { return x + memory; }
";

#[test]
fn a_new_initcall_is_refused_with_code_that_may_need_it() {
    let added = format!(
        "{QUEUE} static int INIT make_queue(void) {{ queue = &memory; return 0; }}
        INITCALL(make_queue)"
    );
    let comparison = Pair::of(QUEUE, &added).compare();
    assert!(comparison.is_empty(), "{comparison:?}");
    assert_eq!(comparison.notes, [Note::InitFunction("make_queue".into())]);
    let after = added.replace("x + memory", "x + *queue");
    let comparison = Pair::of(QUEUE, &after).compare();
    assert_eq!(comparison.refusals, [Reason::NewInitcall("make_queue".into())]);
    let after = QUEUE.replace("x + memory", "x - memory");
    assert!(Pair::of(QUEUE, &after).compare().refusals.is_empty());
}
