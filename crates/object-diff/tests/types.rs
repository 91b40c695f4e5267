//! What the debug information tells: layouts, parameters, inlining.

mod pair;

use lucos_object_diff::{Cause, Reason};
use pair::Pair;

const TYPES: &str = "
    struct inner { int a; char b; };
    struct thing { int first; struct inner inner; union { long wide; short narrow; };
        unsigned flag : 3; unsigned mode : 5; int list[2]; };
    int user(struct thing *thing) { return thing->first + thing->inner.a + thing->narrow + 1; }
    int other(struct thing *thing) { return thing->mode; }
";

fn debug(before: &str, after: &str) -> Pair {
    Pair::with_flags(before, after, &["-g"])
}

fn fields(after: &str) -> Vec<String> {
    let comparison = debug(TYPES, after).compare();
    let [Reason::Layout(change)] = comparison.refusals.as_slice() else { panic!("{comparison:?}") };
    assert_eq!(change.name, "struct thing");
    assert_eq!(comparison.layouts, std::slice::from_ref(change));
    change.fields.clone()
}

#[test]
fn the_same_layout_is_no_reason() {
    let comparison = debug(TYPES, &TYPES.replace("+ 1", "+ 2")).compare();
    assert_eq!((comparison.layouts, comparison.refusals), (vec![], vec![]));
    let comparison =
        debug(TYPES, &TYPES.replace("first", "initial").replace("+ 1", "+ 2")).compare();
    assert_eq!((comparison.layouts, comparison.refusals), (vec![], vec![]), "only a name");
}

#[test]
fn a_field_in_padding_is_named() {
    let after = TYPES
        .replace("char b; }; ", "")
        .replace("+ 1", "+ 2")
        .replace("int list[2]; };", "int list[2]; int added; };");
    assert_eq!(fields(&after), ["added is added at byte 36 (4 bytes)"]);
}

#[test]
fn fields_that_move_grow_or_go_are_named() {
    let change = |from: &str, to: &str| fields(&TYPES.replace(from, to).replace("+ 1", "+ 2"));
    assert_eq!(
        change("unsigned flag : 3; unsigned mode : 5;", "unsigned flag : 4; unsigned mode : 5;"),
        ["flag has 4 bits instead of 3 bits", "mode moves from byte 24 bit 3 to byte 24 bit 4"]
    );
    assert_eq!(change("list[2]", "list[3]"), ["list has 12 bytes instead of 8 bytes"]);
    assert_eq!(
        change("int list[2];", "long list[2];"),
        ["list moves from byte 28 to byte 32", "its size of 40 bytes becomes 48"]
    );
    assert_eq!(change("int list[2];", ""), ["list goes", "its size of 40 bytes becomes 32"]);
}

#[test]
fn what_is_inlined_is_named() {
    let before = "
        static inline __attribute__((always_inline)) int twice(int x) { return x * 2; }
        static inline __attribute__((always_inline)) int more(int x) { return twice(x) + 1; }
        int user(int x) { return more(x) + 1; }
    ";
    let mut pair = debug(before, &before.replace("x * 2", "x * 6"));
    pair.edited = vec!["twice".into(), "other".into()];
    assert_eq!(pair.compare().functions[0].cause, Cause::Inlined(vec!["twice".into()]));
}

const CALL: &str = "
    extern int outside(int);
    __attribute__((noinline)) int global(int x) { return outside(x) + 3; }
    static __attribute__((noinline)) int local(int x, int y) { return outside(x + y) + 3; }
    int user(int x) { return global(x) * 2 + local(x, x); }
    int more(int x) { return local(x, 3) - 1; }
";

#[test]
fn a_function_with_a_parameter_more_leaves_the_old_one_to_old_callers() {
    let after = CALL
        .replace("global(int x) { return", "global(int x, int y) { return y +")
        .replace("global(x)", "global(x, 9)");
    let pair = debug(CALL, &after);
    assert_eq!(pair.changed(), ["global", "user"]);
    let extract = pair.extract();
    let names: Vec<_> = extract.replacements.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["user"]);
    assert_eq!(extract.superseded[0].name, "global");
    assert_eq!(extract.superseded[0].new_symbol, "lucos_new_global");
    let main = "
        int lucos_new_user(int); int outside(int x) { return x; }
        int main(void) { return lucos_new_user(1) == (1 + 3 + 9) * 2 + 2 + 3 ? 42 : 1; }";
    assert_eq!(pair.run(main), 42);
}

#[test]
fn one_that_is_called_as_before_is_replaced() {
    let pair = debug(CALL, &CALL.replace("global(int x) { return", "global(int x) { return 7 +"));
    assert!(pair.extract().superseded.is_empty());
    // One of the two callers stays as it is, so it must reach the new one.
    let after = CALL
        .replace("local(int x, int y) { return", "local(int x, unsigned char y) { return 7 +")
        .replace("local(x, x)", "local(x + 1, x)");
    let extract = debug(CALL, &after).extract();
    assert!(extract.superseded.is_empty(), "{extract:?}");
}
