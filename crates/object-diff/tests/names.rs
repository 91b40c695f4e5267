//! Names that compilers and macros number anew.

mod pair;

use lucos_object_diff::Cause;
use pair::Pair;

#[test]
fn static_variables_of_functions_are_found_by_their_users() {
    let before = "
        int first(void) { static int count = 10; return count++; }
        int user(int x) { static int count = 20; return x + count++; }
    ";
    // New ones in front move the numbers.
    let after = "
        int zero(void) { static int count = 30; return count++; }
        int first(void) { static int count = 10; return count++; }
        int user(int x) { static int count = 20; return x - count++; }
    ";
    let pair = Pair::of(before, after);
    assert_eq!(pair.changed(), ["user"]);
    assert_eq!(pair.compare().refusals, []);
    let extract = pair.extract();
    let counts: Vec<_> =
        extract.references.iter().filter(|found| found.name.starts_with("count")).collect();
    assert_eq!(counts.len(), 1, "{:?}", extract.references);
    assert!(counts[0].is_static && counts[0].in_object && counts[0].size == 4);
    assert!(counts[0].sites.iter().any(|site| site.function == "user"));
    let main = "
        int user(int), lucos_new_user(int);
        int main(void) {
            int old = user(0), new = lucos_new_user(50);
            return old == 20 && new == 50 - 21 && user(0) == 22 ? 42 : 1;
        }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn a_changed_static_variable_is_refused_by_name() {
    let before = "int user(void) { static int count = 20; return count++; }";
    let comparison = Pair::of(before, &before.replace("20", "21")).compare();
    assert_eq!(comparison.data.len(), 1);
    assert!(comparison.data[0].name.starts_with("count."), "{comparison:?}");
}

/// A warning that comes once, and a name that the compiler keeps.
const ONCE: &str = "
    extern void say(const char *, const char *);
    #define WARN_ONCE(text) do { \\
        static __attribute__((section(\".data.once\"))) char __already_done; \\
        if (!__already_done) { __already_done = 1; say(__func__, text); } } while (0)
    int first(int x) { WARN_ONCE(\"first\"); return x; }
    int user(int x) { WARN_ONCE(\"user\"); return x; }
    int last(int x) { WARN_ONCE(\"last\"); return x; }
";

#[test]
fn warnings_that_come_once_are_numbered_anew_without_effect() {
    let after =
        ONCE.replace("int first", "int zero(int x) { WARN_ONCE(\"zero\"); return x; }\nint first");
    let comparison = Pair::of(ONCE, &after).compare();
    assert!(comparison.functions.is_empty(), "{comparison:?}");
    assert_eq!(comparison.new_functions, ["zero"]);
}

#[test]
fn a_new_warning_in_a_function_gets_memory_of_its_own() {
    let after = ONCE.replace("WARN_ONCE(\"user\");", "WARN_ONCE(\"before\"); WARN_ONCE(\"user\");");
    let pair = Pair::of(ONCE, &after);
    assert_eq!(pair.changed(), ["user"]);
    let main = "
        int lucos_new_user(int);
        static int said;
        void say(const char *function, const char *text) {
            said += function[0] == 'u' && function[4] == 0 ? 20 : 1;
            said += text[0] == 'b' || text[0] == 'u' ? 1 : 50;
        }
        int main(void) { lucos_new_user(1); lucos_new_user(1); return said; }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn tables_made_of_switches_are_compared_by_content() {
    let text = |front: &str, last: u32| {
        format!(
            "{front}
             int user(int x) {{
                 switch (x) {{ case 0: return 7; case 1: return 33; case 2: return 5;
                     case 3: return 81; case 4: return {last}; }}
                 return 0;
             }}"
        )
    };
    let front = "int zero(int x) { switch (x) { case 0: return 9; case 1: return 31;
        case 2: return 50; case 3: return 8; case 4: return 61; } return 1; }";
    let pair = Pair::of(&text("", 42), &text(front, 42));
    assert!(pair::symbols(&pair.original).iter().any(|name| name.starts_with("CSWTCH")));
    assert_eq!(pair.changed(), [] as [&str; 0]);
    let pair = Pair::of(&text("", 41), &text(front, 42));
    assert_eq!(pair.changed(), ["user"]);
    assert_eq!(pair.compare().refusals, []);
    let main = "int lucos_new_user(int); int main(void) { return lucos_new_user(4); }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn the_exit_of_a_module_goes_by_its_name_in_the_source() {
    let before = "
        extern int outside(int);
        static __attribute__((used)) int driver_exit(void) { return outside(3); }
        int cleanup_module(void) __attribute__((alias(\"driver_exit\")));
    ";
    let mut pair = Pair::of(before, &before.replace("3", "42"));
    pair.edited = vec!["driver_exit".to_owned()];
    let comparison = pair.compare();
    assert_eq!(pair.changed(), ["driver_exit"]);
    assert_eq!(comparison.functions[0].cause, Cause::Direct);
    let replacement = &pair.extract().replacements[0];
    assert_eq!(replacement.name, "driver_exit");
    assert!(replacement.address_taken, "its other name is visible to all");
    assert!(!pair::symbols(&pair.extract().elf).iter().any(|name| name == "cleanup_module"));
    // Other aliases are as good as the name.
    let global = before.replace("cleanup_module", "drive_out");
    assert_eq!(Pair::of(&global, &global.replace("3", "42")).changed(), ["drive_out"]);
}

#[test]
fn strings_count_by_content() {
    let before = "
        extern int say(const char *);
        int user(void) { return say(\"one\"); }
        int other(void) { return say(\"two\"); }
    ";
    let front = "int zero(void) { return say(\"zero, a longer one\"); }\n int user";
    let pair = Pair::of(before, &before.replace("int user", front));
    assert_eq!(pair.changed(), [] as [&str; 0]);
    let pair = Pair::of(before, &before.replace("\"two\"", "\"three\""));
    assert_eq!(pair.changed(), ["other"]);
    assert_eq!(pair.compare().functions[0].first_difference, "+0x3 from \"two\" to \"three\"");
}

#[test]
fn clones_are_numbered_anew_without_effect() {
    let before = "
        extern int outside(int);
        static __attribute__((noinline)) int clone(int x, int y) { return outside(x) * y; }
        int first(int x) { return clone(x, 3) + clone(x + 1, 3); }
        int user(int x, int y) { return clone(x, y) + outside(x); }
    ";
    let after = before.replace(
        "int user",
        "static __attribute__((noinline)) int more(int x, int y) { return outside(x) / y; }
         int zero(int x) { return more(x, 5) + more(x - 1, 5); }
         int user",
    );
    let pair = Pair::with_flags(before, &after, &["-fipa-cp-clone"]);
    assert_eq!(pair.changed(), [] as [&str; 0]);
}
