//! Which objects a changed header or included file reaches, as the compiler sees it.
//!
//! The preprocessor's text of every object that includes the file is compared, without and with the
//! change: what macros make, paste and count is in it. An object is compiled when what differs can be
//! in its code (`reach`). What was found of a change is kept, beside what each object includes.

mod commands;
mod included;
mod includes;
mod items;
mod reach;
mod side_by_side;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

pub use included::Included;
pub use includes::Includes;
pub use reach::is_reached;

use crate::change::FileChange;
use crate::digest;
use crate::error::{Error, at};
use crate::kernel_tree::KernelTree;
use crate::progress::Progress;
use crate::touched::check_kind;
use crate::work_tree::WorkTree;

use commands::Compilation;

/// Objects whose texts are held in memory together.
const BATCH: usize = 64;
/// Names with the preprocessor's counter in them are others as soon as one more is counted before.
const TEXT: &str = "-E -P -w -U__COUNTER__ -D__COUNTER__=0";

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
    let candidates: Vec<String> = includes.objects_with(files).into_iter().collect();
    let place = kept(tree, changes, &candidates);
    if let Some(known) = fs::read(&place).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
        return Ok(known);
    }
    let found = progress.stage("Who sees the change", || {
        let work = WorkTree { tree };
        work.restore()?;
        let found = Search { work: &work, root: &tree.root(), includes, changes }.of(&candidates);
        work.restore()?;
        found
    })?;
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let text = serde_json::to_vec(&found).map_err(|error| at(&place)(error.into()))?;
    fs::write(&place, text).map_err(at(&place))?;
    Ok(found)
}

/// Where the answer for a change is kept. Another version of what decides has others.
fn kept(tree: &KernelTree, changes: &[FileChange], candidates: &[String]) -> std::path::PathBuf {
    const DECIDES: [&str; 3] = [
        include_str!("dependants.rs"),
        include_str!("dependants/items.rs"),
        include_str!("dependants/reach.rs"),
    ];
    let texts = changes.iter().flat_map(|change| [change.path.clone(), change.after()]);
    let parts: Vec<String> = DECIDES
        .iter()
        .map(|text| (*text).to_owned())
        .chain(texts)
        .chain(candidates.iter().cloned())
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    tree.place().join("dependants").join(format!("{}.json", digest::of(&parts)))
}

struct Search<'a> {
    work: &'a WorkTree<'a>,
    root: &'a Path,
    includes: &'a Includes,
    changes: &'a [FileChange],
}

impl Search<'_> {
    fn of(&self, candidates: &[String]) -> Result<BTreeSet<String>, Error> {
        let bar = side_by_side::bar("Preprocessed files", 2 * candidates.len());
        let mut found = BTreeSet::new();
        for batch in candidates.chunks(BATCH) {
            let list: Vec<(&String, &Compilation)> = batch
                .iter()
                .filter_map(|object| Some((object, self.includes.compilations.get(object)?)))
                .collect();
            let text = |(_, one): &(&String, &Compilation)| one.print(self.root, TEXT);
            let before = side_by_side::each(&list, &bar, text);
            self.work.apply(self.changes)?;
            let pairs: Vec<_> = list.iter().zip(before).collect();
            let reached =
                side_by_side::each(&pairs, &bar, |(one, before)| match (before, text(one)) {
                    (Ok(before), Ok(after)) if is_assembly(one.1) => *before != after,
                    (Ok(before), Ok(after)) => is_reached(before, &after),
                    // What is wrong with it is for the compiler to say.
                    _ => true,
                });
            self.work.restore()?;
            for ((object, one), _) in list.iter().zip(reached).filter(|(_, reached)| *reached) {
                self.check(one)?;
                found.insert((*object).clone());
            }
        }
        bar.finish_and_clear();
        Ok(found)
    }

    /// Assembly of the running kernel cannot be patched.
    fn check(&self, reached: &Compilation) -> Result<(), Error> {
        let as_c = Path::new(&reached.source).with_extension("c");
        if !is_assembly(reached) || check_kind(&as_c.to_string_lossy()).is_err() {
            return Ok(());
        }
        let headers: Vec<&str> = self.changes.iter().map(|change| change.path.as_str()).collect();
        Err(Error::NotPatchable {
            file: headers.join(", "),
            why: format!(
                "{} is assembly and changes with it, which is not patched; leave this part out, or \
                 change the C files instead",
                reached.source
            ),
        })
    }
}

fn is_assembly(compilation: &Compilation) -> bool {
    compilation.source.ends_with(".S")
}

#[cfg(test)]
mod tests {
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
        static inline int second(int a) { int unique_0; return CHECK(a); }
        #endif
        #ifdef MAKE
        int CAT(made_by_, MAKE)(void) { return LIMIT; }
        #undef MAKE
        #endif
    "#;

    fn reached(from: &str, to: &str, code: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert!(HEADER.contains(from), "{from}");
        write("a.c", &format!("#include \"a.h\"\n{code}\n"));
        let one = Compilation { source: "a.c".into(), flags: String::new() };
        let text = |header: &str| {
            write("a.h", header);
            one.print(folder.path(), TEXT).unwrap()
        };
        is_reached(&text(HEADER), &text(&HEADER.replacen(from, to, 1)))
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
