//! How each object of a kernel is compiled, as the kernel's build system says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::{Error, at};
use crate::kernel_tree::KernelTree;
use crate::make::COMPILER;

const MAKEFILE: &str = include_str!("record.mk");

/// How an object is compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Compilation {
    /// The source, by its path in the tree.
    pub(super) source: String,
    /// The compiler's flags as a shell reads them, without those that name outputs.
    pub(super) flags: String,
}

/// By object.
pub(super) type Compilations = BTreeMap<String, Compilation>;

/// Goes through all folders that a build of the kernel goes through.
///
/// # Errors
/// When make does not start, or finds nothing to compile.
pub(super) fn record(tree: &KernelTree) -> Result<Compilations, Error> {
    let folder = tempfile::tempdir_in(tree.work()).map_err(at(tree.work()))?;
    let (makefile, notes) = (folder.path().join("record.mk"), folder.path().join("notes"));
    fs::write(&makefile, MAKEFILE).map_err(at(&makefile))?;
    fs::create_dir(&notes).map_err(at(&notes))?;
    let output = tree
        .make()
        .environment("LUCOS_COMMANDS", &notes)
        .variable("KBUILD_MODULES", "1")
        .variable("build", &format!("-f {} obj", makefile.display()))
        // What is prepared already has makefiles of another kind, which are not for ours.
        .output(&["--no-print-directory", "-o", "prepare", "-k", "-s", "."])?;
    if let Some(message) = unexpected(&String::from_utf8_lossy(&output.stderr)) {
        return Err(Error::Program { program: "make".into(), message });
    }
    let mut found = Compilations::new();
    for note in fs::read_dir(&notes).map_err(at(&notes))?.flatten() {
        let text = fs::read_to_string(note.path()).map_err(at(&note.path()))?;
        found.extend(text.lines().filter_map(compilation));
    }
    if found.is_empty() {
        let message = String::from("the kernel's makefiles name nothing to compile");
        return Err(Error::Program { program: "make".into(), message });
    }
    Ok(found)
}

/// What went wrong, but for what is made of objects and cannot be made without them.
fn unexpected(messages: &str) -> Option<String> {
    const OF_OBJECTS: [&str; 5] = [
        "arch/x86/boot/",
        "arch/x86/entry/vdso/",
        "arch/x86/purgatory/",
        "arch/x86/realmode/",
        "drivers/firmware/efi/libstub/",
    ];
    let is_expected = |line: &&str| {
        // make[4]: *** [arch/x86/realmode/Makefile:22: arch/x86/realmode/rm/realmode.bin] Error 2
        let failed = line.split_once("*** [").and_then(|(_, rest)| rest.split_once(']'));
        let target =
            failed.and_then(|(place, _)| place.rsplit_once(": ")).map(|(_, target)| target);
        target.is_some_and(|target| {
            let above = format!("{}/", target.trim_end_matches('/'));
            let is_in = |folder: &&str| target.starts_with(*folder) || folder.starts_with(&above);
            target == "." || OF_OBJECTS.iter().any(is_in)
        })
    };
    let errors = messages.lines().filter(|line| line.contains("***"));
    errors.into_iter().find(|line| !is_expected(line)).map(str::to_owned)
}

/// A line of a note: object, source, flags.
fn compilation(line: &str) -> Option<(String, Compilation)> {
    let mut words = line.splitn(3, ' ');
    let inside = |path: &str| path.strip_prefix("./").unwrap_or(path).to_owned();
    let (object, source) = (inside(words.next()?), inside(words.next()?));
    // The list of included files is asked for elsewhere.
    let is_output = |flag: &&str| !flag.starts_with("-Wp,-MMD,") && !flag.starts_with("-Wp,-MD,");
    let flags: Vec<&str> = words.next()?.split(' ').filter(is_output).collect();
    Some((object, Compilation { source, flags: flags.join(" ") }))
}

impl Compilation {
    /// What the compiler prints with one more flag, run in a tree.
    ///
    /// # Errors
    /// With the compiler's message.
    pub(super) fn print(&self, root: &Path, flag: &str) -> Result<String, String> {
        let Self { source, flags } = self;
        let output = Command::new("sh")
            .current_dir(root)
            .arg("-c")
            .arg(format!("exec {COMPILER} {flags} {flag} {source}"))
            .env("LC_ALL", "C")
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_an_object_its_source_and_flags() {
        let line = "./fs/a.o fs/a.c -Wp,-MMD,fs/.a.o.d -nostdinc -DX='\"fs/a\"'";
        let (object, found) = compilation(line).unwrap();
        assert_eq!((object.as_str(), found.source.as_str()), ("fs/a.o", "fs/a.c"));
        assert_eq!(found.flags, "-nostdinc -DX='\"fs/a\"'");
        assert!(compilation("fs/a.o").is_none());
    }

    #[test]
    fn only_what_is_made_of_objects_may_be_missing() {
        let vdso = "make[4]: *** [arch/x86/entry/vdso/Makefile:109: arch/x86/entry/vdso/vdso64.so] Error 1\n\
                    make[3]: *** [scripts/Makefile.build:478: arch/x86/entry/vdso] Error 2\n\
                    make[2]: *** [scripts/Makefile.build:478: arch/x86] Error 2\n\
                    make[1]: Target './' not remade because of errors.\n\
                    make: *** [Makefile:1993: .] Error 2\n";
        assert_eq!(unexpected(vdso), None);
        for line in [
            "make[3]: *** [scripts/Makefile.build:478: fs/ext4] Error 2",
            "make[3]: *** No rule to make target 'fs/x.h', needed by 'fs/x.o'.",
        ] {
            assert_eq!(unexpected(&format!("{vdso}{line}\n")).as_deref(), Some(line));
        }
    }

    #[test]
    fn the_compilers_message_is_the_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.c"), "NAME\n#ifndef Y\n#error no Y\n#endif\n").unwrap();
        let one = |flags: &str| Compilation { source: "a.c".into(), flags: flags.into() };
        let text = one("-DNAME='\"x\"' -DY").print(folder.path(), "-E -P").unwrap();
        assert_eq!(text.trim(), "\"x\"");
        let error = one("").print(folder.path(), "-E -P").unwrap_err();
        assert!(error.contains("no Y"), "{error}");
    }
}
