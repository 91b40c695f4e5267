//! Why there is no patch.

use std::path::{Path, PathBuf};

use lucos_debian_archive::{archive, kernel};
use lucos_object_diff::Refusal;

use crate::refused::Refused;
use crate::{change, image, kept, patch_module, running};

/// Why a patch was not built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package cannot be had.
    #[error(transparent)]
    Package(#[from] archive::Error),
    /// The kernel cannot be had.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A program that is needed is not there and could not be installed.
    #[error("{0:#}")]
    Needs(anyhow::Error),
    /// The compiler is not the one that built the kernel.
    #[error(
        "the kernel was built with gcc {wanted}, this machine's gcc-12 is {found}; code made by \
         another compiler cannot be compared"
    )]
    Compiler {
        /// The version that built the kernel.
        wanted: String,
        /// The version that is here.
        found: String,
    },
    /// A file of ours cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A program does not start or fails.
    #[error("{program} failed: {message}")]
    Program {
        /// What was run.
        program: String,
        /// What it said.
        message: String,
    },
    /// The source does not compile.
    #[error("{object} does not compile {with}; {}:\n{message}", advice(with))]
    Compile {
        /// The object.
        object: String,
        /// With or without the change.
        with: &'static str,
        /// The compiler's messages.
        message: String,
    },
    /// A version of the source package has not the form of one.
    #[error("{0:?} is no version of a source package, such as 6.1.192-2")]
    SourceVersion(String),
    /// The kernel image cannot be read.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The change cannot be found or applied.
    #[error(transparent)]
    Change(#[from] change::Error),
    /// The changelog does not name a CVE.
    #[error("the changelog of {package} {version} names no {cve}")]
    UnknownCve {
        /// The CVE.
        cve: String,
        /// The source package.
        package: String,
        /// Its version.
        version: String,
    },
    /// A manifest of fixes is none.
    #[error("{} is no manifest of fixes: {message}", file.display())]
    Manifest {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file changes that this kernel does not compile.
    #[error("{file} changes, but this kernel's configuration does not compile it; leave it out")]
    NotCompiled {
        /// The file.
        file: String,
    },
    /// A file changes that is no C source or header.
    #[error("{file} changes: {why}")]
    NotPatchable {
        /// The file.
        file: String,
        /// Why, and what the author can do.
        why: String,
    },
    /// A new global symbol has the name of one that the kernel has.
    #[error(
        "{object} gets a global {symbol}, and the kernel that runs has one already: a function or \
         variable cannot move between files, nor override a weak one; change it where it is"
    )]
    TakenGlobal {
        /// The object.
        object: String,
        /// The symbol.
        symbol: String,
    },
    /// What the author says of a variable cannot be read.
    #[error("{text:?} does not say which variable is which: {wanted}")]
    NotADecision {
        /// What the author says.
        text: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// What the author says of a variable is about none.
    #[error(
        "{0}: no object of this change has these variables, or something else is said of them; the \
         explanation and the errors of a build give their names"
    )]
    Undecided(String),
    /// Two objects get a global symbol of one name.
    #[error(
        "{object} and {other} both get a global {symbol}; give one of them another name, or make it \
         static"
    )]
    TwoGlobals {
        /// The first object.
        object: String,
        /// The second.
        other: String,
        /// The symbol.
        symbol: String,
    },
    /// The differ refuses an object.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The differ refuses objects of a change.
    #[error("{0}")]
    RefusedObjects(Refused),
    /// What was compiled is not what runs.
    #[error(transparent)]
    NotRunning(#[from] running::Error),
    /// What is declared harmless is not kept.
    #[error(transparent)]
    NotKept(#[from] kept::NotKept),
    /// The module cannot be made.
    #[error(transparent)]
    Module(#[from] patch_module::Error),
}

/// What the author of a change can do about an object that does not compile.
fn advice(with: &str) -> &'static str {
    if with.starts_with("with ") {
        "fit the change to this kernel's source, with the declarations and macros that it needs"
    } else {
        "the change is not the cause, look for what this machine lacks"
    }
}

/// Adds a path to what the system says.
pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}
