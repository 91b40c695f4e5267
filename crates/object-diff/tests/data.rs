//! Data: what has a name stays the kernel's, what has none is copied, what differs is refused.

mod pair;

use lucos_object_diff::{Comparison, DataDifference, DataKind, Reason};
use pair::Pair;

fn only_data(comparison: &Comparison) -> (&str, DataKind, &DataDifference) {
    let [change] = comparison.data.as_slice() else { panic!("{comparison:?}") };
    assert_eq!(comparison.refusals, [Reason::Data(change.clone())]);
    (&change.name, change.kind, &change.difference)
}

const DATA: &str = "
    extern int one(void), two(void);
    int limit = 3;
    int counter;
    const int table[4] = { 1, 2, 3, 4 };
    int (*const operations[])(void) = { one, one };
    __attribute__((section(\".data..percpu\"))) int each = 5;
    __attribute__((section(\".data..ro_after_init\"))) int fixed = 5;
    __attribute__((section(\".init.data\"))) int early = 5;
    int user(void) { return limit + counter + table[counter] + each + fixed; }
";

#[test]
fn a_changed_initial_value_is_refused() {
    let pair = Pair::of(DATA, &DATA.replace("limit = 3", "limit = 4"));
    let comparison = pair.compare();
    let expected = DataDifference::Value { offset: 0, before: 3, after: 4 };
    assert_eq!(only_data(&comparison), ("limit", DataKind::Variable, &expected));
    assert!(comparison.functions.is_empty());
    let error = pair.try_extract(&Default::default()).unwrap_err().to_string();
    assert!(error.starts_with("test.o: variable limit (.data.limit) changes: byte 0"), "{error}");
}

#[test]
fn a_variable_that_gets_an_initial_value_is_refused() {
    let pair = Pair::of(DATA, &DATA.replace("int counter;", "int counter = 9;"));
    let comparison = pair.compare();
    let expected = DataDifference::Value { offset: 0, before: 0, after: 9 };
    assert_eq!(only_data(&comparison), ("counter", DataKind::Variable, &expected));
}

#[test]
fn a_changed_table_of_constants_is_refused() {
    let pair = Pair::of(DATA, &DATA.replace("3, 4 }", "3, 5 }"));
    let comparison = pair.compare();
    let expected = DataDifference::Value { offset: 12, before: 4, after: 5 };
    assert_eq!(only_data(&comparison), ("table", DataKind::ReadOnly, &expected));
}

#[test]
fn a_longer_table_is_refused() {
    let pair =
        Pair::of(DATA, &DATA.replace("table[4] = { 1, 2, 3, 4 }", "table[5] = { 1, 2, 3, 4, 5 }"));
    let comparison = pair.compare();
    let expected = DataDifference::Size { before: 16, after: 20 };
    assert_eq!(only_data(&comparison), ("table", DataKind::ReadOnly, &expected));
}

#[test]
fn a_changed_operation_is_refused() {
    let pair = Pair::of(DATA, &DATA.replace("one, one }", "one, two }"));
    let comparison = pair.compare();
    let (before, after) = ("one".to_owned(), "two".to_owned());
    let expected = DataDifference::Pointer { offset: 8, before, after };
    assert_eq!(only_data(&comparison), ("operations", DataKind::ReadOnly, &expected));
}

#[test]
fn kinds_of_data_are_told_apart() {
    for (before, kind) in [
        ("each = 5", DataKind::PerCpu),
        ("fixed = 5", DataKind::ReadOnlyAfterInit),
        ("early = 5", DataKind::Init),
    ] {
        let pair = Pair::of(DATA, &DATA.replace(before, &before.replace('5', "6")));
        let expected = DataDifference::Value { offset: 0, before: 5, after: 6 };
        let comparison = pair.compare();
        assert_eq!(only_data(&comparison), (&before[..before.len() - 4], kind, &expected));
    }
}

#[test]
fn a_variable_that_moves_to_another_kind_of_memory_is_refused() {
    let after =
        DATA.replace("int limit", "__attribute__((section(\".data..ro_after_init\"))) int limit");
    let comparison = Pair::of(DATA, &after).compare();
    let expected = DataDifference::Section { after: ".data..ro_after_init".into() };
    assert_eq!(only_data(&comparison), ("limit", DataKind::Variable, &expected));
}

#[test]
fn named_constants_keep_their_identity_and_nameless_ones_are_copied() {
    let before = "
        extern int check(const char *, const void *, double);
        static const int identity[2] = { 4, 5 };
        int user(int x) { return check(\"text\", identity, x * 2.5) + x; }
        int other(void) { return check(\"text of another\", identity, 0); }
        const void *tell(void) { return identity; }
    ";
    let pair = Pair::of(before, &before.replace("+ x; }", "- x; }"));
    assert_eq!(pair.changed(), ["user"]);
    let names: Vec<_> = pair.extract().references.into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["check", "identity"]);
    let main = "
        int lucos_new_user(int); const void *tell(void);
        int check(const char *text, const void *identity, double number) {
            return text[0] == 't' && !text[4] && identity == tell() && number == 10.0 ? 46 : 1;
        }
        int main(void) { return lucos_new_user(4); }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn jump_tables_are_copied_and_lead_into_new_code() {
    let before = "
        extern int f(int);
        int user(int x) {
            switch (x) {
            case 0: return f(7); case 1: return f(1) + 2; case 2: return f(9) * 3;
            case 3: return f(2) ^ 4; case 4: return f(0) - 5; case 5: return f(6) | 6;
            case 6: return f(3) & 1; case 7: return -f(6);
            }
            return 0;
        }
    ";
    let pair = Pair::of(before, &before.replace("f(9) * 3", "f(9) * 4"));
    assert!(pair::symbols(&pair.original).iter().all(|name| !name.contains("CSWTCH")));
    assert_eq!(pair.changed(), ["user"]);
    let main = "
        int lucos_new_user(int); int f(int x) { return x; }
        int main(void) {
            return lucos_new_user(0) + lucos_new_user(1) + lucos_new_user(2) + lucos_new_user(7)
                == 7 + 3 + 36 - 6 ? 42 : 1;
        }";
    assert_eq!(pair.run(main), 42);
    // One case more in a table is a change too, though no instruction shows it.
    let swapped = before.replace(
        "case 0: return f(7); case 1: return f(1) + 2;",
        "case 1: return f(7); case 0: return f(1) + 2;",
    );
    assert_eq!(Pair::of(before, &swapped).changed(), ["user"]);
}

#[test]
fn data_in_a_table_of_the_kernel_cannot_be_added() {
    let after = format!(
        "{DATA} __attribute__((section(\"__tracepoints_ptrs\"), used)) static int *more = &limit;"
    );
    let comparison = Pair::of(DATA, &after).compare();
    let (section, what) = ("__tracepoints_ptrs".into(), "more is new".into());
    assert_eq!(comparison.refusals, [Reason::Table { section, what }]);
}

#[test]
fn boot_code_is_refused() {
    let before = "
        __attribute__((section(\".init.text\"), noinline)) int early(int x) { return x; }
        int user(int x) { return x; }
    ";
    let mut pair = Pair::of(before, &before.replacen("return x", "return x + 1", 1));
    assert_eq!(pair.compare().refusals, [Reason::InitFunction("early".into())]);
    // Not if it only gets it from something that is inlined.
    pair.edited = vec!["helper".into()];
    assert!(pair.compare().refusals.is_empty());
    assert_eq!(pair.compare().notes, [lucos_object_diff::Note::InitFunction("early".into())]);
}

#[test]
fn assembly_is_refused() {
    let text = |code: &str| {
        format!(
            "asm(\".pushsection .entry.text,\\\"ax\\\"\\n{code}\\n.popsection\"); int user(int x) {{ return x; }}"
        )
    };
    let pair = Pair::of(&text("inc %eax"), &text("dec %eax"));
    assert_eq!(pair.compare().refusals, [Reason::Assembly { section: ".entry.text".into() }]);
    assert!(Pair::of(&text("inc %eax"), &text("inc %eax")).compare().is_empty());
}

#[test]
fn what_a_built_in_file_would_call_at_its_exit_is_left_out() {
    let before = "
        extern int outside(int);
        static __attribute__((used, section(\".exit.text\"))) void leave(void) { outside(1); }
        int user(int x) { return outside(x) + 1; }
    ";
    let call = "static void (*__exitcall_leave)(void)
        __attribute__((used, section(\".exitcall.exit\"))) = leave;";
    let pair = Pair::of(before, &format!("{}{call}", before.replace("x) + 1", "x) + 2")));
    assert_eq!(pair.changed(), ["user"]);
    assert_eq!(pair.compare().refusals, []);
    let text = pair::section(&pair.extract().elf, ".exitcall.exit");
    assert_eq!(text, None);
}

#[test]
fn assembly_that_leads_elsewhere_is_refused() {
    let text = |target: &str| {
        format!(
            "asm(\".pushsection .entry.text,\\\"ax\\\"\\njmp {target}\\n.popsection\");
             int one(int x) {{ return x; }} int two(int x) {{ return x + 1; }}"
        )
    };
    let pair = Pair::of(&text("one"), &text("two"));
    assert_eq!(pair.compare().refusals, [Reason::Assembly { section: ".entry.text".into() }]);
    assert!(Pair::of(&text("one"), &text("one")).compare().is_empty());
}
