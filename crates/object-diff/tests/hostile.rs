//! Objects that no compiler made.

mod pair;

use lucos_object_diff::{Links, Reason};
use pair::Pair;
use proptest::prelude::{ProptestConfig, any, prop, proptest};

const SOURCE: &str = "
    extern int outside(const char *, int);
    static int count;
    static const int table[] = { 4, 7, 11 };
    int (*const operations[])(const char *, int) = { outside };
    __attribute__((noinline)) static int helper(int x) { static int seen; return seen++ + x; }
    __attribute__((section(\".noinstr.text\"))) int quiet(int x) { return helper(x) + 1; }
    int user(int x) {
        asm volatile(\"1: ud2\\n.pushsection __bug_table,\\\"aw\\\"\\n.long 1b - .\\n\"
            \".long %c0 - .\\n.word 1\\n.word 2\\n.popsection\" : : \"i\" (\"file.c\"));
        switch (x) {
        case 0: return outside(\"no\", 3); case 1: return outside(\"one\", count++);
        case 2: return helper(x) * 2; case 3: return table[count]; case 4: return quiet(x) ^ 9;
        case 5: return outside(__func__, 1) - 1;
        }
        return 0;
    }
";

fn pair() -> Pair {
    Pair::with_flags(SOURCE, &SOURCE.replace("* 2", "* 5").replace("+ 1; }", "+ 2; }"), &["-g"])
}

#[test]
fn the_pair_itself_is_fine() {
    assert_eq!(pair().changed(), ["quiet", "user"]);
    assert_eq!(pair().extract().replacements.len(), 2);
}

#[test]
fn what_is_no_object_is_named() {
    let mut pair = pair();
    pair.patched.truncate(40);
    let refusal = pair.try_compare().unwrap_err();
    assert_eq!(refusal.object, "test.o");
    assert!(matches!(refusal.reasons.as_slice(), [Reason::Malformed(_)]), "{refusal}");
}

#[test]
fn another_machine_is_named() {
    let mut pair = pair();
    pair.original[18] = 0x28;
    assert!(matches!(pair.try_compare().unwrap_err().reasons[0], Reason::Malformed(_)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever the bytes: an answer or an error, and no end of the program.
    #[test]
    fn damaged_objects_do_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        original in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static PAIR: std::sync::LazyLock<Pair> = std::sync::LazyLock::new(pair);
        let (mut before, mut after) = (PAIR.original.clone(), PAIR.patched.clone());
        let bytes = if original { &mut before } else { &mut after };
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        let damaged = PAIR.with_objects(before, after, original);
        if damaged.try_compare().is_ok() {
            let _ = damaged.try_extract(&Links::default());
        }
    }

    /// Tables and headers are where damage hurts most: the last part of the file.
    #[test]
    fn damaged_tables_do_no_harm(
        damage in prop::collection::vec((0_usize..8000, any::<u8>()), 1..6),
    ) {
        static PAIR: std::sync::LazyLock<Pair> = std::sync::LazyLock::new(pair);
        let mut after = PAIR.patched.clone();
        for (place, value) in damage {
            let place = after.len() - 1 - place % after.len();
            after[place] = value;
        }
        let original = PAIR.original.clone();
        let damaged = PAIR.with_objects(original, after, false);
        if damaged.try_compare().is_ok() {
            let _ = damaged.try_extract(&Links::default());
        }
    }
}
