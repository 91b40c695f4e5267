//! A file tree in memory and its cpio form, the same bytes for the same content.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// What one path of a tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File { executable: bool, content: Vec<u8> },
    Link { target: String },
    Console,
}

/// A tree of files, all owned by root, with no times.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// By path without a leading slash; a folder sorts before what is in it.
    nodes: BTreeMap<String, Node>,
}

/// Why something cannot be part of a tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path of the host cannot be read.
    #[error("{}: {source}", path.display())]
    Host {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A path of the host is a device, socket or pipe.
    #[error("{} is neither file, folder nor symbolic link", .0.display())]
    Special(PathBuf),
    /// A path inside the tree is not usable.
    #[error("{0:?} is no path inside the guest")]
    Path(String),
    /// A file of the tree stands where a folder is needed.
    #[error("{0} is a file in the guest, so nothing can be put below it")]
    NotAFolder(String),
}

impl Tree {
    /// A tree with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the tree has nothing in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds an empty folder, and those above it.
    ///
    /// # Errors
    /// When the path leaves the tree or a file is in the way.
    pub fn folder(&mut self, path: &str) -> Result<(), Error> {
        let path = inside(path)?;
        self.parents(&path)?;
        if !path.is_empty() {
            self.make_folder(path)?;
        }
        Ok(())
    }

    /// Adds a file, in place of one that is there.
    ///
    /// # Errors
    /// When the path leaves the tree or is a folder.
    pub fn file(
        &mut self,
        path: &str,
        content: impl Into<Vec<u8>>,
        executable: bool,
    ) -> Result<(), Error> {
        let content = content.into();
        self.insert(path, Node::File { executable, content })
    }

    /// Adds a symbolic link, in place of what is there.
    ///
    /// # Errors
    /// When the path leaves the tree or is a folder.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), Error> {
        let target = target.to_owned();
        self.insert(path, Node::Link { target })
    }

    /// Adds the console device, which a kernel opens before anything is mounted.
    ///
    /// # Errors
    /// When the path leaves the tree or is a folder.
    pub fn console(&mut self, path: &str) -> Result<(), Error> {
        self.insert(path, Node::Console)
    }

    /// Adds a file, folder or symbolic link of the host with all that is in it. Only the
    /// executable bit of its permissions is kept.
    ///
    /// # Errors
    /// When something cannot be read, is special, or has no place in the tree.
    pub fn add_host(&mut self, source: &Path, path: &str) -> Result<(), Error> {
        let meta = source.symlink_metadata().map_err(host_error(source))?;
        if meta.is_symlink() {
            let target = fs::read_link(source).map_err(host_error(source))?;
            return self.link(path, &target.to_string_lossy());
        }
        if meta.is_file() {
            let content = fs::read(source).map_err(host_error(source))?;
            return self.file(path, content, meta.permissions().mode() & 0o111 != 0);
        }
        if !meta.is_dir() {
            return Err(Error::Special(source.to_owned()));
        }
        self.folder(path)?;
        for entry in fs::read_dir(source).map_err(host_error(source))? {
            let entry = entry.map_err(host_error(source))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(Error::Path(name.to_string_lossy().into_owned()));
            };
            self.add_host(&entry.path(), &format!("{path}/{name}"))?;
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, node: Node) -> Result<(), Error> {
        let path = inside(path)?;
        if path.is_empty() || self.nodes.get(&path) == Some(&Node::Folder) {
            return Err(Error::Path(path));
        }
        self.parents(&path)?;
        self.nodes.insert(path, node);
        Ok(())
    }

    fn parents(&mut self, path: &str) -> Result<(), Error> {
        for (end, _) in path.match_indices('/') {
            let parent = path.get(..end).unwrap_or_default().to_owned();
            self.make_folder(parent)?;
        }
        Ok(())
    }

    fn make_folder(&mut self, path: String) -> Result<(), Error> {
        match self.nodes.get(&path) {
            None => {
                self.nodes.insert(path, Node::Folder);
                Ok(())
            }
            // A link may well lead to a folder: the guest's business.
            Some(Node::Folder | Node::Link { .. }) => Ok(()),
            Some(_) => Err(Error::NotAFolder(path)),
        }
    }

    /// The tree as a cpio archive that Linux unpacks (newc format).
    ///
    /// # Errors
    /// When a file is larger than the format allows (4 GiB).
    pub fn cpio(&self) -> io::Result<Vec<u8>> {
        let mut archive = Vec::new();
        for (number, (path, node)) in self.nodes.iter().enumerate() {
            let (mode, content): (u32, &[u8]) = match node {
                Node::Folder => (0o040_755, &[]),
                Node::File { executable: true, content } => (0o100_755, content),
                Node::File { content, .. } => (0o100_644, content),
                Node::Link { target } => (0o120_777, target.as_bytes()),
                Node::Console => (0o020_600, &[]),
            };
            let size = u32::try_from(content.len())
                .map_err(|_| io::Error::other(format!("{path} is too large for an initramfs")))?;
            let number = u32::try_from(number + 1).map_err(io::Error::other)?;
            let mut entry = cpio::newc::Builder::new(path).ino(number).mode(mode);
            if *node == Node::Console {
                entry = entry.rdev_major(5).rdev_minor(1);
            }
            let mut writer = entry.write(&mut archive, size);
            io::Write::write_all(&mut writer, content)?;
            writer.finish()?;
        }
        cpio::newc::trailer(&mut archive)?;
        // Linux wants each of several archives at a multiple of four bytes.
        archive.resize(archive.len().next_multiple_of(4), 0);
        Ok(archive)
    }
}

fn host_error(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Host { path, source }
}

/// The path without leading, doubled or trailing slashes; `..` is refused.
fn inside(path: &str) -> Result<String, Error> {
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_string_lossy()),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::Path(path.to_owned()));
            }
        }
    }
    if path.contains('\0') {
        return Err(Error::Path(path.to_owned()));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(archive: &[u8]) -> Vec<(String, u32, u32)> {
        let mut rest = archive;
        let mut names = Vec::new();
        loop {
            let reader = cpio::newc::Reader::new(rest).expect("a valid archive");
            let entry = reader.entry();
            if entry.is_trailer() {
                return names;
            }
            names.push((entry.name().to_owned(), entry.mode(), entry.file_size()));
            rest = reader.finish().expect("a whole entry");
        }
    }

    #[test]
    fn folders_come_before_their_content_and_modes_are_kept() {
        let mut tree = Tree::new();
        tree.file("/usr/bin/tool", "xyz", true).expect("added");
        tree.file("a.txt", "", false).expect("added");
        tree.link("usr/bin/other", "tool").expect("added");
        tree.console("dev/console").expect("added");
        let archive = tree.cpio().expect("small files");
        assert_eq!(archive.len() % 4, 0);
        let expected: Vec<(String, u32, u32)> = [
            ("a.txt", 0o100_644, 0),
            ("dev", 0o040_755, 0),
            ("dev/console", 0o020_600, 0),
            ("usr", 0o040_755, 0),
            ("usr/bin", 0o040_755, 0),
            ("usr/bin/other", 0o120_777, 4),
            ("usr/bin/tool", 0o100_755, 3),
        ]
        .into_iter()
        .map(|(name, mode, size)| (name.to_owned(), mode, size))
        .collect();
        assert_eq!(names(&archive), expected);
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let build = |order: [&str; 2]| {
            let mut tree = Tree::new();
            for name in order {
                tree.file(name, name, false).expect("added");
            }
            tree.cpio().expect("small files")
        };
        assert_eq!(build(["b", "a"]), build(["a", "b"]));
    }

    #[test]
    fn paths_out_of_the_tree_are_refused() {
        let mut tree = Tree::new();
        assert!(tree.file("../etc/passwd", "", false).is_err());
        assert!(tree.file("/", "", false).is_err());
        tree.file("file", "", false).expect("added");
        assert!(matches!(tree.file("file/below", "", false), Err(Error::NotAFolder(_))));
        tree.folder("folder").expect("added");
        assert!(tree.file("folder", "", false).is_err());
    }

    #[test]
    fn host_files_keep_their_executable_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("program");
        fs::write(&program, "x").expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("set");
        fs::write(folder.path().join("data"), "y").expect("written");
        let mut tree = Tree::new();
        tree.add_host(folder.path(), "/opt").expect("added");
        let modes: Vec<u32> =
            names(&tree.cpio().expect("small")).into_iter().map(|(_, mode, _)| mode).collect();
        assert_eq!(modes, [0o040_755, 0o100_644, 0o100_755]);
    }
}
