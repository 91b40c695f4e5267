//! Whether what differs between two texts of the preprocessor can be in the code of an object.
//!
//! Whatever differs in what makes code by itself is. A declaration, a type or a function that is there
//! only for those who call it (`static`) is, when something that makes code names it, through others of
//! its kind or not. After the preprocessor every name is a token of its own, so no use is missed;
//! one that only looks like a use makes an object be compiled for nothing.

use std::collections::{HashMap, HashSet};

use super::known::{Kind, Known, Text};

/// Whether an object's code may differ between two texts of its source.
pub(super) fn differs(known: &Known, before: &Text, after: &Text) -> bool {
    let (old, new) = (others(known, before, after), others(known, after, before));
    let (Some(old), Some(new)) = (definitions(known, &old), definitions(known, &new)) else {
        return true;
    };
    let names = |these: &HashSet<(u32, u64)>, others: &HashSet<(u32, u64)>| {
        these.difference(others).map(|(name, _)| *name).collect()
    };
    is_used(known, before, names(&old, &new)) || is_used(known, after, names(&new, &old))
}

/// The items that the other text does not have.
fn others(known: &Known, text: &Text, other: &Text) -> Vec<u32> {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for item in &other.items {
        *counts.entry(known.digest(*item)).or_default() += 1;
    }
    let is_other = |item: &&u32| match counts.get_mut(&known.digest(**item)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    text.items.iter().filter(is_other).copied().collect()
}

/// What items give a meaning to; `None` when one of them makes code by itself.
fn definitions(known: &Known, items: &[u32]) -> Option<HashSet<(u32, u64)>> {
    let mut found = HashSet::new();
    for item in items {
        match known.kind(*item) {
            Kind::Nothing => {}
            Kind::Code => return None,
            Kind::Names(names) => found.extend(names.iter().copied()),
        }
    }
    Some(found)
}

/// Whether something that makes code uses one of the names, through others or not.
pub(super) fn is_used(known: &Known, text: &Text, names: HashSet<u32>) -> bool {
    let mut open = text.items.clone();
    let mut seen = names.clone();
    let mut names = names;
    while !names.is_empty() {
        let mut next = HashSet::new();
        let mut left = Vec::new();
        for item in open {
            if !known.uses(item).iter().any(|word| names.contains(word)) {
                left.push(item);
                continue;
            }
            match known.kind(item) {
                Kind::Nothing => {}
                Kind::Code => return true,
                Kind::Names(own) => next.extend(own.iter().map(|(name, _)| *name)),
            }
        }
        open = left;
        names = next.difference(&seen).copied().collect();
        seen.extend(next);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::is_reached;

    const HEADER: &str = "typedef int number; struct inner { number a; }; struct outer { struct inner in; };\n\
        enum reason { ONE, TWO, MOST };\n\
        extern int deep(struct outer *o);\n\
        static inline int low(int a) { return a; }\n\
        static inline int high(int a) { return low(a) + 1; }\n\
        static inline int idle(int a) { return ONE + a; }\n";

    fn reached(from: &str, to: &str, code: &str) -> bool {
        let before = format!("{HEADER}{code}");
        let after = before.replacen(from, to, 1);
        assert_ne!(before, after, "{from}");
        assert_eq!(is_reached(&before, &after), is_reached(&after, &before));
        is_reached(&before, &after)
    }

    #[test]
    fn a_function_reaches_those_who_call_it() {
        let changed = |code| reached("return a;", "return a + 1;", code);
        assert!(changed("int f(void) { return low(1); }"));
        assert!(changed("int f(void) { return high(1); }"));
        assert!(changed("static int g(void) { return high(1); } int (*table[])(void) = { g };"));
        assert!(!changed("int f(void) { return idle(1); }"));
        assert!(!changed(
            "static inline int g(void) { return high(1); } int f(void) { return 1; }"
        ));
        assert!(changed("int f(void) { asm(\"call low\"); }"));
    }

    #[test]
    fn a_type_reaches_those_who_can_look_into_it() {
        let changed = |code| reached("typedef int", "typedef long", code);
        assert!(changed("int f(struct outer *o) { return 1; }"));
        assert!(changed("extern struct outer *get(void); int f(void) { return get()->in.a; }"));
        assert!(!changed("int f(void) { return 1; }"));
    }

    #[test]
    fn a_value_reaches_those_who_name_it() {
        let changed = |code| reached("TWO, MOST", "TWO, NEW, MOST", code);
        assert!(changed("int f(void) { return MOST; }"));
        assert!(!changed("int f(enum reason r) { return r == TWO; }"));
        let moved = |code| reached("ONE, TWO", "ONE, NEW, TWO", code);
        assert!(moved("int f(enum reason r) { return r == TWO; }"));
        assert!(!moved("int f(enum reason r) { return r == ONE; }"));
        // The type may be another one.
        assert!(reached(
            "TWO, MOST",
            "TWO, NEW = -1, MOST",
            "int f(enum reason r) { return r > 2; }"
        ));
    }

    #[test]
    fn what_is_new_reaches_those_who_name_it() {
        let new = "extern int fresh(void);\nextern int deep";
        assert!(!reached("extern int deep", new, "int f(void) { return deep(0); }"));
        assert!(reached("extern int deep", new, "int f(void) { return fresh(); }"));
        assert!(reached("extern int deep", "int fresh;\nextern int deep", ""));
        assert!(reached("enum reason", "asm(\"nop\");\nenum reason", ""));
        assert!(!reached(
            "enum reason",
            "_Static_assert(1, \"\");\nenum reason",
            "int f(void) { return ONE; }"
        ));
        assert!(!reached("enum reason {", "enum  reason\n{", "int f(void) { return ONE; }"));
    }
}
