//! Which objects a change of some files touches.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::change::{FileChange, header, words};
use crate::error::{Error, at};

/// Objects to compile, and why.
#[derive(Debug, Default)]
pub struct Touched {
    /// Objects of changed C files: each has to be part of the kernel.
    pub direct: BTreeSet<String>,
    /// Objects of C files that name something a changed header declares; one that is not part of
    /// the kernel does not matter.
    pub dependants: BTreeSet<String>,
    /// What differs in changed headers.
    pub declared: BTreeSet<String>,
}

impl Touched {
    /// Finds the objects in a source tree without the change.
    ///
    /// # Errors
    /// [`Error::NotPatchable`] for a file that is no C source or header, or a header's change that
    /// names nothing.
    pub fn find(root: &Path, changes: &[FileChange]) -> Result<Self, Error> {
        let mut touched = Self::default();
        for change in changes {
            check_kind(&change.path)?;
            if change.path.ends_with(".h") {
                touched.declared.extend(declared_by(change)?);
            } else {
                touched.direct.extend(objects_of(root, &change.path)?);
            }
        }
        if !touched.declared.is_empty() {
            let mut spread = spread(root, touched.declared.clone())?;
            let changed = changes.iter().filter(|change| change.before.contains("TRACE_SYSTEM"));
            spread.events.extend(changed.map(|change| change.path.clone()));
            let mut files = files_naming(root, &spread.names, "*.c")?;
            files.extend(makers_of_events(root, &spread.events)?);
            for file in files {
                for object in objects_of(root, &file)? {
                    if !touched.direct.contains(&object) {
                        touched.dependants.insert(object);
                    }
                }
            }
        }
        Ok(touched)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeSet<String> {
        self.direct.union(&self.dependants).cloned().collect()
    }
}

pub(crate) fn check_kind(path: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::NotPatchable { file: path.into(), why: why.into() });
    let part = |name: &str| path.split('/').any(|part| part == name);
    if part("vdso") {
        return refuse("the vDSO is mapped into processes as it was at boot; leave this part out");
    }
    if path.starts_with("arch/x86/boot/") || part("realmode") || part("purgatory") {
        return refuse("boot code has run already; leave this part out");
    }
    if path.starts_with("arch/") && !path.starts_with("arch/x86/") {
        return refuse("it belongs to another architecture; leave this part out");
    }
    match Path::new(path).extension().and_then(|extension| extension.to_str()) {
        Some("c" | "h") => Ok(()),
        Some("S") => refuse("assembly is not patched; replace the C functions that call it"),
        _ => refuse("only C sources and headers are patched; leave this part out"),
    }
}

/// The objects that a C file is compiled into: its own, or those of the files that include it.
pub(crate) fn objects_of(root: &Path, file: &str) -> Result<BTreeSet<String>, Error> {
    let mut objects = BTreeSet::new();
    let mut waiting = vec![file.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(file) = waiting.pop() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let object = format!("{}.o", file.strip_suffix(".c").unwrap_or(&file));
        if is_named_by_makefile(root, &object) {
            objects.insert(object);
            continue;
        }
        let includers = includers(root, &file)?;
        if includers.is_empty() {
            objects.insert(object);
        }
        waiting.extend(includers);
    }
    Ok(objects)
}

/// Whether a makefile of the object's folder or one above names it.
fn is_named_by_makefile(root: &Path, object: &str) -> bool {
    let path = Path::new(object);
    path.ancestors().skip(1).take(3).any(|folder| {
        let Ok(inside) = path.strip_prefix(folder) else {
            return false;
        };
        let inside = inside.to_string_lossy();
        ["Kbuild", "Makefile"].iter().any(|name| {
            let text = fs::read_to_string(root.join(folder).join(name)).unwrap_or_default();
            text.split(|c: char| c.is_whitespace() || c == '=').any(|word| word == inside)
        })
    })
}

/// The C files of the same folder and the one above that include a C file.
fn includers(root: &Path, file: &str) -> Result<Vec<String>, Error> {
    let path = Path::new(file);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for folder in path.ancestors().skip(1).take(2) {
        let place = root.join(folder);
        for entry in fs::read_dir(&place).map_err(at(&place))?.flatten() {
            let includer = entry.path();
            if includer.extension().is_none_or(|extension| extension != "c") {
                continue;
            }
            let text = fs::read(&includer).map_err(at(&includer))?;
            let text = String::from_utf8_lossy(&text);
            let includes = text.lines().any(|line| {
                let target = line.strip_prefix("#include").map(str::trim).unwrap_or_default();
                target
                    .trim_matches(['"', '<', '>'])
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
            });
            if includes {
                let inside = folder.join(includer.file_name().unwrap_or_default());
                found.push(inside.to_string_lossy().into_owned());
            }
        }
    }
    Ok(found)
}

/// The names of what differs in a changed header: macros, functions, types, enumerators.
fn declared_by(change: &FileChange) -> Result<BTreeSet<String>, Error> {
    let after = change.after();
    let lines: Vec<&str> = after.lines().filter(|line| !line.starts_with("#line ")).collect();
    let difference = header::difference(&change.before, &lines.join("\n"));
    match difference.nameless {
        None => Ok(difference.names),
        Some(line) => Err(Error::NotPatchable {
            file: change.path.clone(),
            why: format!(
                "nothing at line {line} has a name that tells which C files use it; leave this \
                 part out, or change the C files instead"
            ),
        }),
    }
}

/// What a changed name spreads to.
struct Spread {
    /// The names and those of the headers' macros and inline functions that use them.
    names: BTreeSet<String>,
    /// Headers of events that use one.
    events: BTreeSet<String>,
}

fn spread(root: &Path, mut names: BTreeSet<String>) -> Result<Spread, Error> {
    let mut events = BTreeSet::new();
    let mut new = names.clone();
    while !new.is_empty() {
        let mut found = BTreeSet::new();
        for header in files_naming(root, &new, "*.h")? {
            let file = root.join(&header);
            let text = fs::read(&file).map_err(at(&file))?;
            let text = String::from_utf8_lossy(&text);
            found.extend(users(&text, &new));
            if text.contains("TRACE_SYSTEM") {
                events.insert(header);
            }
        }
        new = found.difference(&names).cloned().collect();
        names.extend(new.iter().cloned());
    }
    Ok(Spread { names, events })
}

/// The macros and inline functions of a header in whose text one of the names stands, and the types
/// that one of the names gives a size.
fn users(text: &str, names: &BTreeSet<String>) -> BTreeSet<String> {
    let uses = |item: &header::Item| {
        let of_others: BTreeSet<&str> = names.difference(&item.names).map(String::as_str).collect();
        if item.is_code {
            return words(&item.text).any(|word| of_others.contains(word));
        }
        sizes(&item.text).into_iter().any(|word| of_others.contains(word))
    };
    header::items(text).into_iter().filter(uses).flat_map(|item| item.names).collect()
}

/// The words that a type's size may depend on, in the text of its declaration: types of members
/// that are no pointers, and what is in brackets. None for what is no type.
fn sizes(text: &str) -> Vec<&str> {
    let is_type = ["struct ", "union ", "typedef "].iter().any(|word| text.starts_with(word));
    let words: Vec<&str> = text.split(' ').filter(|_| is_type).collect();
    let mut brackets = 0_usize;
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| words.get(at));
        match *word {
            "[" => brackets += 1,
            "]" => brackets = brackets.saturating_sub(1),
            _ if brackets > 0 || before == Some(&":") => found.push(*word),
            _ => {
                let begins = ["struct", "union", "enum", "const", "typedef", "{", ";", "}"];
                let is_type = before.is_some_and(|before| begins.contains(before));
                if is_type && words.get(at + 1) != Some(&"*") {
                    found.push(*word);
                }
            }
        }
    }
    found
}

/// The C files that make the code of the events in headers: they need not name one.
fn makers_of_events(root: &Path, headers: &BTreeSet<String>) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    if headers.is_empty() {
        return Ok(found);
    }
    let makers = BTreeSet::from([String::from("CREATE_TRACE_POINTS")]);
    for file in files_naming(root, &makers, "*.c")? {
        let place = root.join(&file);
        let text = fs::read(&place).map_err(at(&place))?;
        let text = String::from_utf8_lossy(&text);
        let includes = text.lines().filter_map(|line| line.trim().strip_prefix("#include"));
        let mut targets = includes.map(|target| target.trim().trim_matches(['"', '<', '>']));
        let ends = |header: &String, target: &str| {
            let name = target.rsplit('/').next().unwrap_or(target);
            Path::new(header).file_name().is_some_and(|file| file == name)
        };
        if targets.any(|target| headers.iter().any(|header| ends(header, target))) {
            found.push(file);
        }
    }
    Ok(found)
}

/// The files of the parts that this architecture compiles in which one of the names stands.
pub(crate) fn files_naming(
    root: &Path,
    names: &BTreeSet<String>,
    pattern: &str,
) -> Result<Vec<String>, Error> {
    let mut command = Command::new("grep");
    command
        .current_dir(root)
        .args(["-rlwFI", "--include", pattern])
        .args(["--exclude-dir=Documentation", "--exclude-dir=tools", "--exclude-dir=samples"])
        .args(["--exclude-dir=scripts", "--exclude-dir=.git"]);
    for name in names {
        command.arg("-e").arg(name);
    }
    let folders = folders(root)?;
    let output = command
        .args(&folders)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| Error::Program { program: "grep".into(), message: error.to_string() })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}

/// The top-level folders, of the architectures only x86.
fn folders(root: &Path) -> Result<Vec<String>, Error> {
    let mut folders = vec![String::from("arch/x86")];
    for entry in fs::read_dir(root).map_err(at(root))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && name != "arch" {
            folders.push(name);
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::between;

    fn header(before: &str, after: &str) -> FileChange {
        FileChange {
            path: "include/linux/mm.h".into(),
            before: before.into(),
            edits: between(before, after),
        }
    }

    #[test]
    fn a_prototype_over_several_lines_names_its_function() {
        let before = "int before(void);\n\nextern struct vma *copy_vma(struct vma **,\n\
                      \tunsigned long addr,\n\tbool *need);\nint after(void);\n";
        let after = before.replace("\tbool *need);", "\tbool *need, int more);");
        let names = declared_by(&header(before, &after)).unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["copy_vma"]);
    }

    #[test]
    fn a_changed_header_leads_to_those_who_use_it() {
        let folder = tempfile::tempdir().unwrap();
        let before = "#define TRACE_SYSTEM x\nstatic inline int f(void)\n{\n\tint a = 1;\n\n\treturn a;\n}\n";
        for (path, text) in [
            ("include/linux/mm.h", before),
            ("include/linux/users.h", "static inline int g(void) { return f(); }\n"),
            ("arch/x86/Kbuild", ""),
            ("mm/direct.c", "int a(void)\n{\n\treturn f();\n}\n"),
            ("mm/through.c", "int b(void)\n{\n\treturn g();\n}\n"),
            ("mm/events.c", "#define CREATE_TRACE_POINTS\n#include <linux/mm.h>\n"),
            ("mm/other.c", "#define CREATE_TRACE_POINTS\n#include <linux/fs.h>\n"),
        ] {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let after = before.replace("\treturn a;", "\ta++;\n\treturn a;");
        let touched = Touched::find(folder.path(), &[header(before, &after)]).unwrap();
        let objects: Vec<&str> = touched.dependants.iter().map(String::as_str).collect();
        assert_eq!(objects, ["mm/direct.o", "mm/events.o", "mm/through.o"]);
    }

    #[test]
    fn a_change_without_a_name_is_refused() {
        let error = declared_by(&header("int a;\n", "int a;\nasm(\"nop\");\n")).unwrap_err();
        assert!(error.to_string().contains("line 2 has a name"), "{error}");
    }

    #[test]
    fn macros_and_inline_functions_spread_a_name() {
        let text = "#define A(x) \\\n\tb(x)\n#define C 1\nstatic inline int d(void)\n{\n\treturn b();\n}\n";
        let users = users(text, &BTreeSet::from(["b".to_owned()]));
        assert_eq!(users.into_iter().collect::<Vec<_>>(), ["A", "d"]);
    }

    #[test]
    fn a_type_changes_with_what_it_contains() {
        let text = "struct a {\n\tint first;\n\tstruct b b;\n};\nstruct c { struct b *open; };\n\
                    struct d { b_t const one; };\nstruct e { char name[B + 1]; };\n\
                    struct f { int bits : B; };\nstruct g { int (*b_t)(struct b *, int B); };\n\
                    typedef struct b h;\nextern struct b i;\nstruct j { b_t *b_t; };\n";
        let users = users(text, &BTreeSet::from(["b", "b_t", "B"].map(str::to_owned)));
        assert_eq!(users.into_iter().collect::<Vec<_>>(), ["a", "d", "e", "f", "h"]);
    }

    #[test]
    fn what_is_no_c_is_refused_with_a_reason() {
        for path in [
            "arch/x86/entry/entry_64.S",
            "arch/x86/entry/vdso/vma.c",
            "mm/Kconfig",
            "arch/x86/boot/main.c",
            "arch/arm64/mm/fault.c",
        ] {
            assert!(check_kind(path).is_err(), "{path}");
        }
        assert!(check_kind("mm/mremap.c").is_ok());
    }

    #[test]
    fn an_included_file_leads_to_its_includer() {
        let folder = tempfile::tempdir().unwrap();
        let sched = folder.path().join("kernel/sched");
        fs::create_dir_all(&sched).unwrap();
        fs::write(sched.join("Makefile"), "obj-y += build_policy.o\n").unwrap();
        fs::write(sched.join("build_policy.c"), "#include \"rt.c\"\n").unwrap();
        fs::write(sched.join("rt.c"), "").unwrap();
        let objects = objects_of(folder.path(), "kernel/sched/rt.c").unwrap();
        assert_eq!(objects.into_iter().collect::<Vec<_>>(), ["kernel/sched/build_policy.o"]);
    }
}
