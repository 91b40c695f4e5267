//! Changed, new and unchanged functions.

mod pair;

use lucos_object_diff::Cause;
use pair::Pair;

const TWO: &str = "
    int weight;
    extern int outside(int);
    __attribute__((noinline)) static int helper(int x) { return outside(x) * weight; }
    int user(int x) { return helper(x) + 1; }
    int other(int x) { return x * 7; }
";

#[test]
fn an_object_compared_with_itself_differs_in_nothing() {
    let pair = Pair::of(TWO, TWO);
    assert_eq!(pair.compare(), lucos_object_diff::Comparison::default());
    assert!(pair.compare().is_empty());
}

#[test]
fn only_the_function_that_differs_is_named() {
    let pair = Pair::of(TWO, &TWO.replace("x * 7", "x * 9"));
    assert_eq!(pair.changed(), ["other"]);
    let extract = pair.extract();
    assert_eq!(extract.replacements.len(), 1);
    assert_eq!(extract.replacements[0].name, "other");
    assert!(!extract.replacements[0].is_static);
    assert!(extract.references.is_empty());
}

#[test]
fn new_code_runs_with_the_old_variables_and_functions() {
    let pair = Pair::of(TWO, &TWO.replace("helper(x) + 1", "helper(x) + weight"));
    assert_eq!(pair.changed(), ["user"]);
    let names: Vec<_> = pair.extract().references.into_iter().map(|found| found.symbol).collect();
    assert_eq!(names, ["helper", "weight"]);
    let main = "
        extern int weight; int user(int); int lucos_new_user(int);
        int outside(int x) { return x; }
        int main(void) {
            weight = 5;
            return user(2) == 11 && lucos_new_user(2) == 15 ? 42 : 1;
        }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn two_changed_functions_call_each_others_new_versions() {
    let after = TWO.replace("* weight", "* (weight + 1)").replace("+ 1; }", "+ 2; }");
    let pair = Pair::of(TWO, &after);
    assert_eq!(pair.changed(), ["helper", "user"]);
    let main = "
        extern int weight; int lucos_new_user(int);
        int outside(int x) { return x; }
        int main(void) { weight = 5; return lucos_new_user(2) == 14 ? 42 : 1; }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn a_new_function_comes_along_with_what_it_needs() {
    let after = TWO.replace(
        "int user(int x) { return helper(x) + 1; }",
        "static int seen = 3;
         static const char *const words[] = { \"one\", \"three\" };
         __attribute__((noinline)) static int added(int x) { return seen++ + words[x][0]; }
         int user(int x) { return helper(x) + added(x); }",
    );
    let pair = Pair::of(TWO, &after);
    assert_eq!(pair.compare().new_functions, ["added"]);
    assert_eq!(pair.compare().new_data, ["words", "seen"]);
    let main = "
        extern int weight; int lucos_new_user(int);
        int outside(int x) { return x; }
        int main(void) {
            int first = lucos_new_user(1), second = lucos_new_user(0);
            return first == 't' + 3 && second == 'o' + 4 ? 42 : 1;
        }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn a_pointer_to_a_replaced_function_stays_the_old_one() {
    let before = "
        extern void keep(int (*)(int));
        int user(int x) { return x + 1; }
        int setter(void) { keep(user); return user(1); }
    ";
    let after = before.replace("x + 1", "x + 3").replace("return user(1)", "return -user(1)");
    let pair = Pair::with_flags(before, &after, &["-fno-inline", "-fno-ipa-icf"]);
    assert_eq!(pair.changed(), ["user", "setter"]);
    let main = "
        int user(int); int lucos_new_user(int); int lucos_new_setter(void);
        static int (*kept)(int);
        void keep(int (*function)(int)) { kept = function; }
        int main(void) {
            int called = lucos_new_setter();
            return kept == user && kept != lucos_new_user && called == -4 ? 42 : 1;
        }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn a_change_that_comes_by_inlining_is_told_from_a_direct_one() {
    let before = "
        static inline __attribute__((always_inline)) int twice(int x) { return x * 2; }
        int user(int x) { return twice(x) + 1; }
        int other(int x) { return x - 1; }
    ";
    let after = before.replace("x * 2", "x * 6").replace("x - 1", "x - 3");
    // Debug information says what is inlined.
    for (flag, user) in [("-g", Cause::Inlined(vec!["twice".into()])), ("-g0", Cause::Indirect)] {
        let mut pair = Pair::with_flags(before, &after, &[flag]);
        pair.edited = vec!["twice".into(), "other".into()];
        let functions = pair.compare().functions;
        let causes: Vec<_> =
            functions.iter().map(|function| (function.name.as_str(), &function.cause)).collect();
        assert_eq!(causes, [("user", &user), ("other", &Cause::Direct)]);
    }
}

#[test]
fn a_split_part_goes_with_its_function() {
    let before = "
        extern void report(const char *) __attribute__((cold));
        int user(int x) { if (__builtin_expect(x > 5, 0)) { report(\"big\"); x = 5; } return x; }
    ";
    let pair = Pair::of(before, &before.replace("big", "too big"));
    assert_eq!(pair.changed(), ["user"]);
    let main = "
        int lucos_new_user(int);
        static int length;
        void report(const char *text) { while (text[length]) length++; }
        int main(void) {
            return lucos_new_user(3) == 3 && lucos_new_user(9) == 5 && length == 7 ? 42 : 1;
        }";
    assert_eq!(pair.run(main), 42);
    let symbols = pair::symbols(&pair.extract().elf);
    assert!(symbols.iter().any(|name| name == "lucos_new_user.cold"), "{symbols:?}");
}

#[test]
fn functions_that_share_a_section_are_cut_apart() {
    let before = "
        #define noinstr __attribute__((section(\".noinstr.text\"), noinline))
        static noinstr int inner(int x) { return x * 3; }
        noinstr int user(int x) { return inner(x) + inner(x + 1); }
        noinstr int last(int x) { return x - 1; }
    ";
    let after = before.replace("inner(x + 1)", "inner(x + 2)");
    let pair = Pair::with_flags(before, &after, &["-fno-ipa-ra"]);
    assert_eq!(pair.changed(), ["user"]);
    let extract = pair.extract();
    assert_eq!(extract.references.len(), 1);
    assert_eq!(extract.references[0].name, "inner");
    let main = "
        int lucos_new_user(int);
        int main(void) { return lucos_new_user(1) == 3 + 9 ? 42 : 1; }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn a_clone_that_only_changed_functions_call_needs_no_redirection() {
    let before = "
        extern int outside(int);
        static __attribute__((noinline)) int clone(int x, int y) { return outside(x) * y; }
        int user(int x) { return clone(x, 3) + clone(x + 1, 3); }
    ";
    // Called as before: then it is replaced as any other.
    let pair = Pair::of(before, &before.replace(", 3)", ", 4)"));
    assert_eq!(pair.changed(), ["clone.constprop.0"]);
    assert_eq!(pair.extract().replacements.len(), 1);
    let after = before.replace(", 3)", ", 4)").replace("x + 1", "x + 2");
    let pair = Pair::of(before, &after);
    let extract = pair.extract();
    assert_eq!(extract.superseded.len(), 1, "{:?}", pair.compare());
    assert_eq!(extract.superseded[0].name, "clone.constprop.0");
    let names: Vec<_> = extract.replacements.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["user"]);
    let main = "
        int lucos_new_user(int); int outside(int x) { return x; }
        int main(void) { return lucos_new_user(1) == 16 ? 42 : 1; }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn a_changed_constant_of_an_instruction_with_a_relocation_is_seen() {
    let before = "extern int place[]; void user(void) { place[2] = 0x1234; }";
    let pair = Pair::of(before, &before.replace("0x1234", "0x1235"));
    assert_eq!(pair.changed(), ["user"]);
    let pair = Pair::of(before, &before.replace("[2]", "[3]"));
    assert_eq!(pair.changed(), ["user"]);
    assert_eq!(pair.compare().functions[0].first_difference, "+0x2 from place+0x8 to place+0xc");
}
