//! The shared libraries that a program from a Debian package needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use object::elf;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object};

/// Where Debian keeps libraries, relative to a root.
const FOLDERS: [&str; 3] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64"];

/// Why the libraries of a program are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is no program or library for this machine.
    #[error("{}: {source}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: object::Error,
    },
    /// None of the packages has the library.
    #[error("no package brings {library}, which {} needs", path.display())]
    Missing {
        /// The library.
        library: String,
        /// What needs it.
        path: PathBuf,
    },
}

/// All libraries that `program` needs, directly or not, as (path in the guest, file of the
/// host), looked up in the unpacked packages `roots`. The dynamic linker is among them.
///
/// # Errors
/// When a file is broken or a library is in none of the packages.
pub fn needed(program: &Path, roots: &[PathBuf]) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut queue = vec![program.to_owned()];
    while let Some(path) = queue.pop() {
        for library in direct(&path)? {
            let (inside, file) = locate(&library, roots)
                .ok_or_else(|| Error::Missing { library: library.clone(), path: path.clone() })?;
            if found.insert(inside, file.clone()).is_none() {
                queue.push(file);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The names of the needed libraries and the full path of the dynamic linker.
fn direct(path: &Path) -> Result<Vec<String>, Error> {
    let bytes = fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    names(&bytes).map_err(|source| Error::Elf { path: path.to_owned(), source })
}

fn names(bytes: &[u8]) -> Result<Vec<String>, object::Error> {
    let file = ElfFile64::<Endianness>::parse(bytes)?;
    let endian = file.endianness();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut names = Vec::new();
    let sections = file.elf_section_table();
    if let Some((dynamic, link)) = sections.dynamic(endian, bytes)? {
        let strings = sections.strings(endian, bytes, link)?;
        for entry in dynamic {
            let tag = entry.d_tag.get(endian);
            if tag == elf::DT_NEEDED {
                let offset = u32::try_from(entry.d_val.get(endian)).unwrap_or(u32::MAX);
                names.push(text(strings.get(offset).unwrap_or_default()));
            }
        }
    }
    for header in file.elf_header().program_headers(endian, bytes)? {
        if let Some(interpreter) = header.interpreter(endian, bytes)? {
            names.push(text(interpreter));
        }
    }
    Ok(names)
}

fn locate(library: &str, roots: &[PathBuf]) -> Option<(String, PathBuf)> {
    let candidates: Vec<String> = match library.strip_prefix('/') {
        Some(absolute) => vec![absolute.to_owned()],
        None => FOLDERS.iter().map(|folder| format!("{folder}/{library}")).collect(),
    };
    for inside in candidates {
        for root in roots {
            // Links in packages may be absolute, which means inside the package.
            if let Some(file) = follow(root, &inside) {
                return Some((inside, file));
            }
        }
    }
    None
}

fn follow(root: &Path, inside: &str) -> Option<PathBuf> {
    let mut path = root.join(inside);
    for _ in 0..8 {
        let meta = path.symlink_metadata().ok()?;
        if meta.is_file() {
            return Some(path);
        }
        if !meta.is_symlink() {
            return None;
        }
        let target = fs::read_link(&path).ok()?;
        path = match target.strip_prefix("/") {
            Ok(absolute) => root.join(absolute),
            Err(_) => path.parent()?.join(target),
        };
    }
    None
}
