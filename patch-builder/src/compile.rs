//! Compiles the objects that a change touches, without it and with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::change::INDENT;
use crate::error::{Error, at};
use crate::files::copy;
use crate::flags::{self, Purpose};
use crate::kernel_tree::KernelTree;

/// What an error says of a compilation with the change.
pub const CHANGED: &str = "with the change";

/// An object, compiled.
#[derive(Debug, Clone)]
pub struct Object {
    /// Path in the source tree, such as `mm/mremap.o`.
    pub path: String,
    /// The ELF file's bytes.
    pub bytes: Vec<u8>,
    /// The module it is part of, such as `drivers/block/loop`; `None` for the kernel image.
    pub module: Option<String>,
}

/// Compiles objects of the kernel's own source; the results are cached.
///
/// # Errors
/// When one does not compile.
pub fn original(
    tree: &KernelTree,
    paths: &BTreeSet<String>,
    purpose: Purpose,
) -> Result<BTreeMap<String, Object>, Error> {
    let cache = tree.objects(purpose);
    let missing: Vec<&str> =
        paths.iter().map(String::as_str).filter(|path| !cache.join(path).exists()).collect();
    if !missing.is_empty() {
        compile(tree, &missing, purpose, "without the change")?;
        for path in missing {
            keep(tree, path, &cache)?;
        }
    }
    load(&cache, paths.iter().map(String::as_str))
}

/// Compiles objects in the tree as it is now.
///
/// # Errors
/// When one does not compile.
pub fn changed(
    tree: &KernelTree,
    paths: &BTreeSet<String>,
    purpose: Purpose,
) -> Result<BTreeMap<String, Object>, Error> {
    let wanted: Vec<&str> = paths.iter().map(String::as_str).collect();
    compile(tree, &wanted, purpose, CHANGED)?;
    load(&tree.root(), wanted.into_iter())
}

/// Compiles as many of the objects as can be, in the tree as it is now. The compiler's messages
/// about the others are given.
///
/// # Errors
/// When make does not start or is ended, or when an object is missing that the compiler found
/// nothing wrong with.
pub fn as_many(
    tree: &KernelTree,
    paths: &[&str],
    purpose: Purpose,
) -> Result<BTreeMap<String, String>, Error> {
    if paths.is_empty() {
        return Ok(BTreeMap::new());
    }
    let root = tree.root();
    forget(&root, paths)?;
    let text =
        tree.make().variable("KCFLAGS", &flags::of(tree.work(), purpose)?).transcript(paths)?;
    let messages = failures(&text);
    let failed = paths.iter().copied().filter(|path| !root.join(path).exists());
    failed.map(|path| Ok((path.to_owned(), source_error(path, &messages, &text)?))).collect()
}

/// What the compiler said about the source of an object that it did not make.
///
/// # Errors
/// When it did not say anything about the source: then something else went wrong.
fn source_error(
    path: &str,
    messages: &BTreeMap<String, String>,
    transcript: &str,
) -> Result<String, Error> {
    let message = messages.get(path);
    if let Some(message) = message.filter(|message| is_about_source(message)) {
        return Ok(message.clone());
    }
    let text = message.map_or(transcript, String::as_str).trim();
    let last = text.lines().last().unwrap_or("make printed nothing");
    Err(Error::Program { program: format!("make {path}"), message: last.to_owned() })
}

/// Whether one of the compiler's messages is about a place in the source, and not about a disk that
/// is full or a compiler that was ended.
pub fn is_about_source(message: &str) -> bool {
    const OTHERS: [&str; 4] =
        ["error writing to", "No space left on device", "internal compiler error", "Killed"];
    message.lines().any(|line| {
        let place = line.split_once("error: ").or_else(|| line.split_once("Error: "));
        let in_source = place.is_some_and(|(place, _)| {
            place.split(':').nth(1).is_some_and(|line| line.trim().parse::<u32>().is_ok())
        });
        in_source && !OTHERS.iter().any(|other| line.contains(other))
    })
}

/// What the compiler said of each object, in the transcript of a make.
fn failures(transcript: &str) -> BTreeMap<String, String> {
    let mut failures = BTreeMap::new();
    let mut about = String::new();
    for line in transcript.lines() {
        if line.starts_with("  ") && line.trim_start().starts_with(|c: char| c.is_ascii_uppercase())
        {
            about.clear();
        }
        // make[2]: *** [scripts/Makefile.build:250: mm/mremap.o] Error 1
        let failed = line.split_once("*** [").and_then(|(_, rest)| rest.split_once(']'));
        match failed.and_then(|(place, _)| place.rsplit_once(": ")) {
            Some((_, target)) => {
                failures.insert(target.to_owned(), first_errors(&about));
                about.clear();
            }
            None => {
                about.push_str(line);
                about.push('\n');
            }
        }
    }
    failures
}

/// Copies an object and the note of how it was made from the tree into a folder.
///
/// # Errors
/// When it cannot be read or written.
pub fn keep(tree: &KernelTree, path: &str, place: &Path) -> Result<(), Error> {
    let file = place.join(path);
    let folder = file.parent().unwrap_or(place);
    fs::create_dir_all(folder).map_err(at(folder))?;
    copy(&tree.root().join(command_file(path)), &place.join(command_file(path)))?;
    // Last: it says that the rest is there.
    copy(&tree.root().join(path), &file)
}

/// Times tell make nothing when a file is put back.
fn forget(root: &Path, paths: &[&str]) -> Result<(), Error> {
    for path in paths {
        for file in [root.join(path), root.join(command_file(path))] {
            if file.exists() {
                fs::remove_file(&file).map_err(at(&file))?;
            }
        }
    }
    Ok(())
}

fn compile(
    tree: &KernelTree,
    paths: &[&str],
    purpose: Purpose,
    with: &'static str,
) -> Result<(), Error> {
    // Without a target make would build the whole kernel.
    if paths.is_empty() {
        return Ok(());
    }
    let root = tree.root();
    forget(&root, paths)?;
    let output = tree
        .make()
        .variable("KCFLAGS", &flags::of(tree.work(), purpose)?)
        .output(&[&["-k"], paths].concat())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    match paths.iter().find(|path| !root.join(path).exists()) {
        None => Ok(()),
        Some(path) => {
            Err(Error::Compile { object: (*path).to_owned(), with, message: first_errors(&errors) })
        }
    }
}

/// The compiler's messages without what explains them.
fn first_errors(errors: &str) -> String {
    const SHOWN: usize = 5;
    let lines: Vec<String> = errors
        .lines()
        .filter(|line| line.contains("error:"))
        .take(SHOWN)
        .map(in_author_s_column)
        .collect();
    if lines.is_empty() { errors.trim().to_owned() } else { lines.join("\n") }
}

/// A message about an added line, which is compiled in another column than the author wrote it in.
fn in_author_s_column(message: &str) -> String {
    let parts: Vec<&str> = message.splitn(4, ':').collect();
    if let [file, line, column, text] = parts.as_slice()
        && let Some(column) = column.parse().ok().and_then(|at: usize| at.checked_sub(INDENT))
    {
        return format!("{file}:{line}:{column}:{text}");
    }
    message.to_owned()
}

/// The objects of a folder.
///
/// # Errors
/// When one cannot be read.
pub fn load<'a>(
    folder: &Path,
    paths: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, Object>, Error> {
    let mut objects = BTreeMap::new();
    for path in paths {
        let file = folder.join(path);
        let commands = folder.join(command_file(path));
        let text = fs::read_to_string(&commands).map_err(at(&commands))?;
        let bytes = fs::read(&file).map_err(at(&file))?;
        let object = Object { path: path.to_owned(), bytes, module: module_of(path, &text) };
        objects.insert(path.to_owned(), object);
    }
    Ok(objects)
}

/// The module that an object is part of, from the command that compiled it. Where that gives no
/// more than a name, the module lies in the object's folder.
fn module_of(path: &str, commands: &str) -> Option<String> {
    let command = commands.lines().next()?;
    if !command.split_whitespace().any(|word| word == "-DMODULE") {
        return None;
    }
    let value = |key: &str| {
        let (_, rest) = command.split_once(&format!("-D{key}='\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    value("KBUILD_MODFILE").or_else(|| {
        let name = value("KBUILD_MODNAME")?;
        Some(Path::new(path).with_file_name(name).to_string_lossy().into_owned())
    })
}

/// Where the build system notes how it made a file.
#[must_use]
pub fn command_file(path: &str) -> PathBuf {
    let path = Path::new(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.cmd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_in_the_command() {
        let built_in = "cmd_mm/mremap.o := gcc-12 -DKBUILD_MODFILE='\"mm/mremap\"' -c";
        assert_eq!(module_of("mm/mremap.o", built_in), None);
        let module =
            "savedcmd_x.o := gcc-12  -DMODULE  -DKBUILD_MODFILE='\"net/netfilter/nf_tables\"' -c";
        let found = module_of("net/netfilter/x.o", module);
        assert_eq!(found.as_deref(), Some("net/netfilter/nf_tables"));
        let newer = "savedcmd_x.o := gcc-12  -DMODULE  -DKBUILD_MODNAME='\"nf_tables\"' -c";
        let found = module_of("net/netfilter/nft_bitwise.o", newer);
        assert_eq!(found.as_deref(), Some("net/netfilter/nf_tables"));
    }

    #[test]
    fn messages_belong_to_the_object_that_failed() {
        let text = "  CC      mm/good.o\nmm/good.c:1:2: warning: so\n  CC [M]  fs/bad.o\n\
                    fs/bad.c:7:1: error: no member x\n\
                    make[2]: *** [scripts/Makefile.build:250: fs/bad.o] Error 1\n\
                    make[1]: *** [scripts/Makefile.build:500: fs] Error 2\n  CC      mm/also.o\n\
                    mm/also.c:3:1: error: y\n\
                    make[1]: *** [scripts/Makefile.build:250: mm/also.o] Error 1\n";
        let failures = failures(text);
        assert_eq!(failures["fs/bad.o"], "fs/bad.c:7:1: error: no member x");
        assert_eq!(failures["mm/also.o"], "mm/also.c:3:1: error: y");
        assert!(!failures.contains_key("mm/good.o"));
    }

    #[test]
    fn columns_are_the_author_s() {
        let text = format!("mm/x.c:7:{}: error: y\nmm/x.c:8:3: error: z\n", INDENT + 9);
        assert_eq!(first_errors(&text), "mm/x.c:7:9: error: y\nmm/x.c:8:3: error: z");
        assert_eq!(in_author_s_column("cc1: error: x"), "cc1: error: x");
    }

    #[test]
    fn only_an_error_in_the_source_is_one_of_the_object() {
        let transcript = |about: &str| {
            format!(
                "  CC      mm/x.o\n{about}\n\
                 make[1]: *** [scripts/Makefile.build:250: mm/x.o] Error 1\nmake: *** Error 2\n"
            )
        };
        let error = |about: &str| {
            let text = transcript(about);
            source_error("mm/x.o", &failures(&text), &text)
        };
        for about in [
            "mm/x.c:7:1: error: no member x",
            "mm/x.c:7:10: fatal error: linux/x.h: No such file or directory",
            "mm/x.c:7: Error: no such instruction: `x'",
        ] {
            assert!(error(about).unwrap().ends_with(about), "{about}");
        }
        for about in [
            "gcc-12: fatal error: Killed signal terminated program cc1",
            "mm/x.c:7:1: fatal error: error writing to /tmp/x.s: No space left on device",
            "mm/x.c:7:1: internal compiler error: Segmentation fault",
            "/bin/sh: 1: cannot create mm/.x.o.d: No space left on device",
        ] {
            assert!(error(about).is_err(), "{about}");
        }
        let other = source_error("mm/y.o", &BTreeMap::new(), "make: *** [x] Error 1\nmake: last\n");
        assert_eq!(other.unwrap_err().to_string(), "make mm/y.o failed: make: last");
    }

    #[test]
    fn notes_stand_beside_the_object() {
        assert_eq!(command_file("mm/mremap.o"), Path::new("mm/.mremap.o.cmd"));
    }
}
