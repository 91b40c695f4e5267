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

/// A function with two pointers, called by one that changes with it and one that may stay.
const POINTERS: &str = "
    struct net { int n; }; struct sock { int s; };
    typedef struct sock sock_t;
    extern int outside(int);
    LINKAGE __attribute__((noinline)) int reset(struct net *net, struct sock *sk)
        { return outside(net->n) * 2 + outside(sk->s); }
    int user(struct net *net, struct sock *sk) { return reset(net, sk) + 1; }
";

/// Before and after, with other parameters of `reset`, and other arguments.
fn reset(linkage: &str, more: &str, parameters: &str, arguments: &str) -> Pair {
    let before = format!("{POINTERS}{more}").replace("LINKAGE", linkage);
    let after = before
        .replace("reset(struct net *net, struct sock *sk)", &format!("reset({parameters})"))
        .replace("reset(net, sk)", &format!("reset({arguments})"))
        .replace("outside(net->n) * 2 +", "3 +")
        .replace("sk->s", if parameters.contains("*socket") { "socket->s" } else { "sk->s" });
    // Without inter-procedural changes to parameters, as in a file where they are not possible.
    Pair::with_flags(&before, &after, &["-g", "-fno-ipa-sra", "-fno-ipa-cp"])
}

#[test]
fn a_parameter_that_goes_or_moves_leaves_the_old_function_to_old_callers() {
    for linkage in ["", "static"] {
        for (parameters, arguments) in [
            ("struct sock *sk", "sk"),
            ("struct sock *sk, struct net *net", "sk, net"),
            ("struct sock *socket, struct net *space", "sk, net"),
        ] {
            let extract = reset(linkage, "", parameters, arguments).extract();
            let names = |list: Vec<&String>| list.into_iter().cloned().collect::<Vec<_>>();
            let replaced = names(extract.replacements.iter().map(|found| &found.name).collect());
            let beside = names(extract.superseded.iter().map(|found| &found.name).collect());
            assert_eq!(replaced, ["user"], "{linkage} {parameters}");
            assert_eq!(beside, ["reset"], "{linkage} {parameters}");
        }
    }
}

#[test]
fn other_names_of_the_same_types_are_no_difference() {
    for parameters in [
        "struct net *net, struct sock *sk",
        "struct net *net, sock_t *sk",
        "struct net *const net, const struct sock *sk",
    ] {
        let extract = reset("", "", parameters, "net, sk").extract();
        assert!(extract.superseded.is_empty(), "{parameters}: {extract:?}");
    }
}

fn refused(pair: &Pair) -> String {
    let refusals = pair.compare().refusals;
    let [Reason::CalledDifferently { function, before, after, why }] = refusals.as_slice() else {
        panic!("{refusals:?}")
    };
    format!("{function}: {before} -> {after}: {why}")
}

#[test]
fn a_function_in_a_pointer_cannot_be_called_in_another_way() {
    let pointer = "int (*const operation)() = reset;";
    let signatures = "int (struct net *net, struct sock *sk) -> int (struct sock *sk)";
    for linkage in ["", "static"] {
        assert_eq!(
            refused(&reset(linkage, pointer, "struct sock *sk", "sk")),
            format!("reset: {signatures}: its address is taken")
        );
        let same = reset(linkage, pointer, "struct net *net, const sock_t *sk", "net, sk");
        assert_eq!(same.extract().replacements[0].name, "reset");
    }
}

#[test]
fn a_caller_that_stays_cannot_be_left_with_the_old_function() {
    let stays = "int stays(struct net *net) { return reset((void *)net, (void *)net) + 5; }";
    let message = refused(&reset("", stays, "struct sock *sk, struct net *net", "sk, net"));
    assert!(message.ends_with("stays, which stays as it is, calls it"), "{message}");
}

#[test]
fn a_result_that_goes_leaves_the_old_function_to_old_callers() {
    let before = "
        extern int outside(int);
        __attribute__((noinline)) int set(int x) { return outside(x) + 3; }
        int user(int x) { return set(x) ? 7 : 8; }
    ";
    let after = before
        .replace("int set(int x) { return outside(x) + 3; }", "void set(int x) { outside(x + 1); }")
        .replace("return set(x) ? 7 : 8", "set(x); return 7");
    let extract = debug(before, &after).extract();
    assert_eq!(extract.superseded[0].name, "set");
    // The other way round nobody looks at what is new.
    assert!(debug(&after, before).extract().superseded.is_empty());
}

#[test]
fn users_in_other_objects_that_stay_are_found() {
    let before = "
        extern void set(int x);
        static void (*const pointer)(int) = set;
        int user(int x) { set(x); return x; }
        int more(int x) { set(x + 1); return x + MORE; }
        void (*tell(void))(int) { return *(void (*volatile *)(int))&pointer; }
    ";
    let text = |more: &str| before.replace("MORE", more);
    let pair = Pair::of(&text("1"), &text("2"));
    let left = |user: &str| (user.to_owned(), "set".to_owned());
    let mut found = pair.users_left("set");
    found.sort();
    assert_eq!(found, [left("pointer"), left("user")]);
    assert_eq!(pair.users_left("other"), []);
}

#[test]
fn an_integer_is_what_the_old_callers_pass() {
    let source = "
        extern int outside(int);
        __attribute__((noinline)) int set(KIND x) { return outside(x) + MORE; }
        int user(KIND x) { return set(x) + MORE; }
    ";
    let beside = |before: &str, after: &str| {
        let text = |kind: &str, more: &str| source.replace("KIND", kind).replace("MORE", more);
        let extract = debug(&text(before, "3"), &text(after, "4")).extract();
        !extract.superseded.is_empty()
    };
    assert!(!beside("int", "unsigned int"));
    assert!(!beside("long", "int"), "the lower half is there");
    assert!(beside("int", "long"), "nobody knows the upper half");
    assert!(beside("int", "_Bool"), "another value than 0 and 1");
    assert!(beside("unsigned long", "char *"));
}

#[test]
fn structures_without_a_name_have_that_of_their_typedef_and_member() {
    let before = "
        typedef struct { int context; char flags; } context_t;
        struct holder { struct { char kind; int count; } part; union { int a; } list[2]; };
        int user(context_t *context, struct holder *holder)
            { return context->context + holder->part.count + holder->list[1].a + 1; }
    ";
    let layouts = |from: &str, to: &str| -> Vec<_> {
        let after = before.replace(from, to).replace("+ 1; }", "+ 2; }");
        let comparison = debug(before, &after).compare();
        assert_eq!(comparison.refusals.len(), comparison.layouts.len());
        comparison.layouts.into_iter().map(|change| (change.name, change.fields)).collect()
    };
    assert_eq!(layouts("context_t", "context_t"), []);
    let one = |name: &str, fields: &[&str]| {
        vec![(name.to_owned(), fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>())]
    };
    assert_eq!(
        layouts("char flags; }", "char flags; char more; }"),
        one("context_t", &["more is added at byte 5 (1 byte)"])
    );
    assert_eq!(
        layouts("char kind; int count;", "int count; char kind;"),
        one(
            "struct holder",
            &["part.count moves from byte 4 to byte 0", "part.kind moves from byte 0 to byte 4",]
        )
    );
    assert_eq!(
        layouts("union { int a; }", "union { int a; char first; }"),
        one("struct holder", &["list[].first is added at byte 8 (1 byte)"])
    );
}

/// A header's structure and a function that uses it; the type of one field is open.
const FIELD: &str = "
#line 1 \"thing.h\"
    struct one { int a; }; struct two { int a; };
    typedef struct one one_t; typedef unsigned int word; typedef unsigned long long wide;
    enum colour { RED, GREEN MORE }; enum other { LEFT, RIGHT };
    struct thing { long first; FIELD; };
#line 1 \"test.c\"
    int user(struct thing *thing) { return thing->first + COUNT; }
";

/// What differs for users of the header when the declaration of a field becomes another.
fn retyped(before: &str, after: &str) -> Vec<String> {
    let text = |field: &str, count: &str| {
        FIELD.replace("FIELD", field).replace("COUNT", count).replace("MORE", "")
    };
    let comparison = debug(&text(before, "1"), &text(after, "2")).compare();
    let fields = comparison.layouts.iter().flat_map(|change| change.fields.clone()).collect();
    let reasons: Vec<_> = comparison.layouts.into_iter().map(Reason::Layout).collect();
    assert_eq!(comparison.refusals, reasons, "{before} {after}");
    fields
}

#[test]
fn another_type_of_a_header_s_field_in_the_same_place_is_named() {
    for (before, after, what) in [
        ("int x", "unsigned x", "x is unsigned int instead of signed int"),
        ("short x", "unsigned short x", "x is unsigned short instead of signed short"),
        ("unsigned char x", "_Bool x", "x is _Bool instead of unsigned char"),
        ("long x", "void *x", "x is void * instead of signed long"),
        ("long x", "int x[2]", "x is signed int[2] instead of signed long"),
        ("int x[2][3]", "int x[3][2]", "x is signed int[3][2] instead of signed int[2][3]"),
        ("int x[2]", "word x[2]", "x is unsigned int[2] instead of signed int[2]"),
        ("int x : 3", "unsigned x : 3", "x is unsigned bits instead of signed bits"),
        ("unsigned x : 1", "_Bool x : 1", "x is _Bool instead of unsigned bits"),
        ("float x", "int x", "x is signed int instead of float"),
        ("struct one x", "struct two x", "x is struct two instead of struct one"),
        ("struct one *x", "struct two *x", "x is struct two * instead of struct one *"),
        ("struct one *x", "struct one **x", "x is struct one * * instead of struct one *"),
        ("char *x", "int *x", "x is signed int * instead of signed char *"),
        (
            "int (*x)(struct one *)",
            "int (*x)(struct one *, long)",
            "x is signed int (struct one *, signed long) * instead of signed int (struct one *) *",
        ),
        ("int (*x)(void)", "void (*x)(void)", "x is void () * instead of signed int () *"),
        ("int x; int z", "int x; unsigned y", "z (signed int) becomes y (unsigned int)"),
    ] {
        assert_eq!(retyped(before, after), [what], "{before} {after}");
    }
}

#[test]
fn another_spelling_of_a_field_s_type_is_no_difference() {
    for (before, after) in [
        ("unsigned x", "word x"),
        ("unsigned x", "const volatile word x"),
        ("unsigned long x", "wide x"),
        ("word x : 3", "unsigned char x : 3"),
        ("unsigned x", "enum colour x"),
        ("enum other x", "enum colour x"),
        ("struct one x", "const one_t x"),
        ("struct one *x", "one_t *const x"),
        ("const char *x", "char *x"),
        ("void *x", "const void *x"),
        ("int (*x)(struct one *, unsigned long)", "int (*x)(const one_t *named, wide other)"),
        ("int x[0]", "int x[]"),
        ("int x; int z", "int x; int y"),
        ("int x; int z", "int x; union { int z; unsigned y; }"),
    ] {
        assert_eq!(retyped(before, after), Vec::<String>::new(), "{before} {after}");
        assert_eq!(retyped(after, before), Vec::<String>::new(), "{after} {before}");
    }
    let text = |more: &str, count: &str| {
        let field = FIELD.replace("FIELD", "enum colour x; enum colour *y");
        field.replace("COUNT", count).replace("MORE", more)
    };
    let with_enumerator = debug(&text("", "1"), &text(", BLUE = 99", "2")).compare();
    assert_eq!((with_enumerator.layouts, with_enumerator.refusals), (vec![], vec![]));
}

#[test]
fn users_of_a_c_file_s_own_structure_are_compiled_with_it() {
    let private = |before: &str, after: &str| {
        let text = |field: &str, count: &str| {
            let field = FIELD.replace("FIELD", field).replace("COUNT", count).replace("MORE", "");
            field.replace("#line 1 \"thing.h\"", "")
        };
        let layouts = debug(&text(before, "1"), &text(after, "2")).compare().layouts;
        layouts.into_iter().flat_map(|change| change.fields).collect::<Vec<_>>()
    };
    assert_eq!(private("int x", "unsigned x"), Vec::<String>::new());
    assert_eq!(private("int x; int z", "int x; unsigned y"), Vec::<String>::new());
    // Those that exist hold something else.
    assert_eq!(private("unsigned char x", "_Bool x"), ["x is _Bool instead of unsigned char"]);
    assert_eq!(private("long x", "void *x"), ["x is void * instead of signed long"]);
}
