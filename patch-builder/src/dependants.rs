//! Which objects a changed header or included file reaches, as the compiler sees it.
//!
//! The preprocessor's text of every object that includes the file is compared, without and with the
//! change: what macros make, paste and count is in it. An object is compiled when what differs can be
//! in its code (`reach`). What was found of a change is kept, beside what each object includes.

mod cached;
mod commands;
mod elements;
mod included;
mod includes;
mod items;
mod known;
mod meaning;
mod narrow;
mod reach;
mod side_by_side;
mod texts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use included::Included;
pub use includes::Includes;

use crate::change::FileChange;
use crate::digest;
use crate::error::Error;
use crate::kernel_tree::KernelTree;
use crate::kinds::check_kind;
use crate::progress::Progress;

use commands::Compilation;
use known::{Known, Text};
use narrow::Narrow;

/// The objects that changes of the given files reach, of those that include one of them; the tree is
/// without a change before and after.
///
/// # Errors
/// When make or the compiler fail, or assembly includes what changes.
pub fn find(
    tree: &KernelTree,
    includes: &Includes,
    changes: &[FileChange],
    files: &BTreeSet<&str>,
    progress: &mut Progress,
) -> Result<BTreeSet<String>, Error> {
    let candidates = includes.objects_with(files);
    let place = place(tree, changes, &candidates);
    if let Some(known) = cached::read(&place) {
        return Ok(known);
    }
    let found = Search { tree, includes, changes, files }.of(&candidates, progress)?;
    cached::write(&place, &found)?;
    Ok(found)
}

/// Where the answer for a change is kept.
fn place(tree: &KernelTree, changes: &[FileChange], candidates: &BTreeSet<String>) -> PathBuf {
    let texts = changes.iter().flat_map(|change| [change.path.clone(), change.after()]);
    let parts: Vec<String> = texts.chain(candidates.iter().cloned()).collect();
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    cached::place(tree).join("objects").join(digest::of(&parts))
}

struct Search<'a> {
    tree: &'a KernelTree,
    includes: &'a Includes,
    changes: &'a [FileChange],
    files: &'a BTreeSet<&'a str>,
}

impl Search<'_> {
    fn of(
        &self,
        candidates: &BTreeSet<String>,
        progress: &mut Progress,
    ) -> Result<BTreeSet<String>, Error> {
        let objects: Vec<(&str, &Compilation)> = candidates
            .iter()
            .filter_map(|object| Some((object.as_str(), self.includes.compilations.get(object)?)))
            .collect();
        progress.tell(&format!("{} objects include what changes", objects.len()));
        let work = self.tree.work_tree();
        work.restore()?;
        let (known, before) = progress
            .stage("What they are without the change", || texts::unchanged(self.tree, &objects))?;
        let included = self.changes.iter().filter(|one| self.files.contains(one.path.as_str()));
        let narrows: Vec<(BTreeSet<String>, Narrow)> = included
            .map(|one| (self.includes.objects_with(&[one.path.as_str()].into()), Narrow::of(one)))
            .collect();
        let text = |object: &str| before.get(object).and_then(Option::as_ref);
        let may_be = |object: &str, one: &Compilation| {
            let Some(text) = text(object).filter(|_| !is_assembly(one)) else { return true };
            let mut narrows = narrows.iter().filter(|(objects, _)| objects.contains(object));
            narrows.any(|(_, narrow)| narrow.may_reach(&known, text))
        };
        let open: Vec<(&str, &Compilation)> =
            objects.into_iter().filter(|(object, one)| may_be(object, one)).collect();
        progress.tell(&format!("{} of them may be reached", open.len()));
        let known = Mutex::new(known);
        let after = progress.stage("What they are with the change", || {
            work.apply(self.changes)?;
            let bar = side_by_side::bar("Preprocessed files", open.len());
            let texts = texts::asked(&self.tree.root(), &known, &open, &bar);
            bar.finish_and_clear();
            work.restore().map(|()| texts)
        })?;
        let known = known.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeSet::new();
        for (object, one) in open {
            let after = after.get(object).and_then(Option::as_ref);
            let is_reached = match (text(object), after) {
                (Some(before), Some(after)) => reaches(&known, one, before, after),
                // What is wrong with it is for the compiler to say.
                _ => true,
            };
            if is_reached {
                check(one, self.changes)?;
                found.insert(object.to_owned());
            }
        }
        Ok(found)
    }
}

/// Assembly of the running kernel cannot be patched.
fn check(reached: &Compilation, changes: &[FileChange]) -> Result<(), Error> {
    let as_c = Path::new(&reached.source).with_extension("c");
    if !is_assembly(reached) || check_kind(&as_c.to_string_lossy()).is_err() {
        return Ok(());
    }
    let headers: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    Err(Error::NotPatchable {
        file: headers.join(", "),
        why: format!(
            "{} is assembly and changes with it, which is not patched; leave this part out, or \
             change the C files instead",
            reached.source
        ),
    })
}

fn reaches(known: &Known, one: &Compilation, before: &Text, after: &Text) -> bool {
    let digests = |text: &Text| text.items.iter().map(|item| known.digest(*item)).collect();
    if is_assembly(one) {
        let (before, after): (Vec<u64>, Vec<u64>) = (digests(before), digests(after));
        return before != after;
    }
    reach::differs(known, before, after)
}

fn is_assembly(compilation: &Compilation) -> bool {
    compilation.source.ends_with(".S")
}

/// Whether an object's code may differ between two texts of its source, for tests.
#[cfg(test)]
fn is_reached(before: &str, after: &str) -> bool {
    let mut known = Known::default();
    let (before, after) = (known.text(&items::cut(before)), known.text(&items::cut(after)));
    reach::differs(&known, &before, &after)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A header of the kernel's style, as the preprocessor meets them.
    const HEADER: &str = r#"
        #ifndef ONCE
        #define ONCE
        #define COUNTED(name) static int name##__COUNTER__
        #define CAT_(a, b) a##b
        #define CAT(a, b) CAT_(a, b)
        #define TEXT(a) #a
        #define LIMIT 3
        #define FNS(bit, name) \
            static inline void set_buffer_##name(int *b) { *b |= bit; } \
            static inline int buffer_##name(int *b) { return *b & bit; }
        FNS(1, uptodate)
        FNS(2, dirty)
        #define HOOKS X(open) X(close)
        #define CHECK(x) ((void)sizeof(CAT(unique_, __COUNTER__)), (x))
        static inline int first(int a) { return a; }
        static inline int where(void) { return __LINE__; }
        static inline int second(int a) { int unique_0; return CHECK(a); }
        #endif
        #ifdef MAKE
        int CAT(made_by_, MAKE)(void) { return LIMIT; }
        #undef MAKE
        #endif
    "#;

    fn change(from: &str, to: &str) -> FileChange {
        assert!(HEADER.contains(from), "{from}");
        let after = HEADER.replacen(from, to, 1);
        FileChange {
            path: "a.h".into(),
            before: HEADER.into(),
            edits: crate::change::between(HEADER, &after),
        }
    }

    /// The texts of a source that includes the header, without and with a change.
    fn texts_of(change: &FileChange, source: &str, code: &str) -> (Known, Text, Text) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(source, &format!("#include \"a.h\"\n{code}\n"));
        write(
            "between.h",
            "#include \"a.h\"\nstatic inline int through(int a) { return first(a); }",
        );
        let one = Compilation { source: source.into(), flags: String::new() };
        let mut known = Known::default();
        let mut text = |header: &str| {
            write("a.h", header);
            known.text(&items::cut(&one.print(folder.path(), texts::TEXT).unwrap()))
        };
        let (before, after) = (text(HEADER), text(&change.after()));
        (known, before, after)
    }

    fn reached(from: &str, to: &str, code: &str) -> bool {
        let change = change(from, to);
        let (known, before, after) = texts_of(&change, "a.c", code);
        let is_reached = reach::differs(&known, &before, &after);
        let narrow = Narrow::of(&change);
        assert!(!is_reached || narrow.may_reach(&known, &before), "{narrow:?} leaves {code:?} out");
        is_reached
    }

    #[test]
    fn assembly_that_changes_is_refused() {
        let change = change("#define LIMIT 3", "#define LIMIT 4");
        let one = |source: &str| Compilation { source: source.into(), flags: String::new() };
        for (code, expected) in [("mov $LIMIT, %eax", true), ("nop", false)] {
            let code = format!("#ifdef __ASSEMBLER__\n{code}\n#endif");
            let (known, before, after) = texts_of(&change, "entry.S", &code);
            assert_eq!(reaches(&known, &one("entry.S"), &before, &after), expected, "{code}");
        }
        let error =
            check(&one("arch/x86/entry/entry.S"), std::slice::from_ref(&change)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("arch/x86/entry/entry.S is assembly"), "{message}");
        assert!(message.contains("a.h") && message.contains("leave this part out"), "{message}");
        for other in ["mm/x.c", "arch/x86/entry/vdso/note.S", "arch/x86/boot/header.S"] {
            assert!(check(&one(other), std::slice::from_ref(&change)).is_ok(), "{other}");
        }
    }

    #[test]
    fn what_the_preprocessor_makes_has_its_users() {
        for (from, to, code, expected) in [
            // Names that are pasted.
            ("*b |= bit", "*b = bit", "int f(int *b) { set_buffer_uptodate(b); return 1; }", true),
            (
                "*b |= bit",
                "*b = bit",
                "int f(int *b) { CAT(set_buffer_, dirty)(b); return 1; }",
                true,
            ),
            ("*b |= bit", "*b = bit", "int f(int *b) { return buffer_uptodate(b); }", false),
            ("FNS(2", "FNS(4", "int f(int *b) { return buffer_uptodate(b); }", false),
            ("FNS(2", "FNS(4", "int f(int *b) { return buffer_dirty(b); }", true),
            // A list that each includer makes something else of.
            ("X(close)", "X(flush)", "#define X(name) #name,\nchar *names[] = { HOOKS };", true),
            ("X(close)", "X(flush)", "int f(void) { return 1; }", false),
            // The header a second time, with other definitions.
            ("return LIMIT", "return 1", "#define MAKE it\n#include \"a.h\"", true),
            ("LIMIT 3", "LIMIT 4", "#define MAKE it\n#include \"a.h\"", true),
            // Conditions, texts, what is made of a macro's name.
            ("LIMIT 3", "LIMIT 4", "#if LIMIT > 3\nint f(void) { return 1; }\n#endif", true),
            ("LIMIT 3", "LIMIT 2", "#if LIMIT > 3\nint f(void) { return 1; }\n#endif", false),
            ("#a", "\"<\" #a", "const char *f(void) { return TEXT(x); }", true),
            ("#define CAT(", "#define CAT_2(", "int CAT(x, y)(void) { return 1; }", true),
            // Through another header, through a name in a directive, behind a condition.
            (
                "int a) { return a; }",
                "int a) { return a + 1; }",
                "#include \"between.h\"\nint f(void) { return through(1); }",
                true,
            ),
            (
                "int a) { return a; }",
                "int a) { return a + 1; }",
                "#include \"between.h\"\nint f(void) { return 1; }",
                false,
            ),
            (
                "return LIMIT",
                "return 1",
                "#define SELF \"a.h\"\n#define MAKE x\n#include SELF",
                true,
            ),
            (
                "return LIMIT",
                "return 1",
                "#if LIMIT > 3\n#define MAKE it\n#include \"a.h\"\n#endif",
                false,
            ),
            // Lines behind an edit stay what they were.
            (
                "#define LIMIT 3",
                "#define LIMIT 3\n#define MORE 4\n",
                "int f(void) { return where(); }",
                false,
            ),
            ("return __LINE__", "return 1 + __LINE__", "int f(void) { return where(); }", true),
            // One more of what is counted in front of others.
            ("return a; }", "return CHECK(a); }", "int f(void) { return second(1); }", false),
            ("return a; }", "return CHECK(a); }", "int f(void) { return first(1); }", true),
            (
                "#ifndef ONCE",
                "/* only words */\n#ifndef ONCE",
                "int f(void) { return first(1); }",
                false,
            ),
        ] {
            assert_eq!(reached(from, to, code), expected, "{from:?} {to:?} {code:?}");
        }
    }
}
