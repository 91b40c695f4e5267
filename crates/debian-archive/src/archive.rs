//! Debian packages by name: looked up and downloaded with the machine's own apt, unpacked in a
//! cache, never installed.

mod download;
mod package;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub use package::Package;

use package::read_paragraph;

/// What can go wrong with a package.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of the host is missing.
    #[error("{program} does not start: {source}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Neither apt's lists nor the cache has the package.
    #[error("the package archive has no {name}{}", alternatives(.others))]
    Gone {
        /// The package asked for.
        name: String,
        /// Names that the archive has in its place, newest last.
        others: Vec<String>,
    },
    /// The archive has the package, but not this version of it.
    #[error("the package archive has no {name} {version}{}", alternatives(.others))]
    VersionGone {
        /// The package.
        name: String,
        /// The version asked for.
        version: String,
        /// The versions that it has, newest first.
        others: Vec<String>,
    },
    /// apt could not download.
    #[error("apt-get could not download {names}:\n{message}")]
    Download {
        /// The packages, separated by spaces.
        names: String,
        /// What apt said.
        message: String,
    },
    /// A package file could not be unpacked.
    #[error("{} cannot be unpacked: {message}", path.display())]
    Unpack {
        /// The file.
        path: PathBuf,
        /// What dpkg-deb said.
        message: String,
    },
    /// The cache cannot be read or written.
    #[error("{}: {source}", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn alternatives(others: &[String]) -> String {
    if others.is_empty() {
        return String::from("; `apt-get update` may help");
    }
    format!("; it has {}", others.join(", "))
}

fn cache_error(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Cache { path, source }
}

/// The package archive as this machine's apt sees it, with a cache of files.
pub struct Archive {
    cache: PathBuf,
    /// What apt has told already.
    known: RefCell<BTreeMap<String, Option<Package>>>,
}

impl Archive {
    /// An archive that keeps its files in a folder, which is made when needed.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self { cache: cache.into(), known: RefCell::default() }
    }

    /// The names in apt's lists that begin with `prefix`, sorted. A name may have no version left.
    ///
    /// # Errors
    /// When apt-cache does not start.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let output = self.apt_cache(&["pkgnames", prefix])?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The version that apt would download, if there is one.
    ///
    /// # Errors
    /// When apt-cache does not start.
    pub fn candidate(&self, name: &str) -> Result<Option<Package>, Error> {
        self.ask(&[name])?;
        Ok(self.known.borrow().get(name).cloned().flatten())
    }

    /// Asks apt about several packages in one call, so that [`Self::candidate`] knows them.
    ///
    /// # Errors
    /// When apt-cache does not start.
    pub fn ask(&self, names: &[&str]) -> Result<(), Error> {
        let mut known = self.known.borrow_mut();
        let new: Vec<&str> =
            names.iter().copied().filter(|name| !known.contains_key(*name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut arguments = vec!["show", "--no-all-versions"];
        arguments.extend(&new);
        let output = self.apt_cache(&arguments)?;
        let text = String::from_utf8_lossy(&output.stdout);
        for name in new {
            let package = text.split("\n\n").find_map(|paragraph| read_paragraph(name, paragraph));
            known.insert(name.to_owned(), package);
        }
        Ok(())
    }

    /// Every version of a package that apt can download, newest first.
    ///
    /// # Errors
    /// When apt-cache does not start.
    pub fn versions(&self, name: &str) -> Result<Vec<Package>, Error> {
        let output = self.apt_cache(&["show", "--all-versions", name])?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.split("\n\n").filter_map(|paragraph| read_paragraph(name, paragraph)).collect())
    }

    /// The package file of exactly this version, from the cache or downloaded.
    ///
    /// # Errors
    /// [`Error::VersionGone`] when neither apt nor the cache has that version, or when it cannot
    /// be downloaded.
    pub fn file_of_version(&self, name: &str, version: &str) -> Result<PathBuf, Error> {
        let start = format!("{name}_{}_", escape(version));
        if let Some(file) = self.cached_files(&start).pop() {
            return Ok(file);
        }
        let versions = self.versions(name)?;
        let Some(package) = versions.iter().find(|package| package.version == version) else {
            return Err(Error::VersionGone {
                name: name.to_owned(),
                version: version.to_owned(),
                others: versions.into_iter().map(|package| package.version).collect(),
            });
        };
        self.download(std::slice::from_ref(package))?.pop().ok_or_else(|| Error::Download {
            names: name.to_owned(),
            message: String::from("apt-get left no file"),
        })
    }

    /// The folder that holds everything this archive keeps.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Forgets what apt has told: its lists have changed.
    pub fn forget(&self) {
        self.known.borrow_mut().clear();
    }

    /// Downloads packages that are not in the cache and unpacks each into a folder of its own.
    /// The result is in the order of `names`.
    ///
    /// # Errors
    /// When a package is neither offered nor cached, or cannot be downloaded or unpacked.
    pub fn unpacked(&self, names: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let files = self.files(names)?;
        files.iter().map(|file| self.unpack(file)).collect()
    }

    /// Downloads packages that are not in the cache and gives the package files.
    ///
    /// # Errors
    /// When a package is neither offered nor cached, or cannot be downloaded.
    pub fn files(&self, names: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let mut files = BTreeMap::new();
        let mut wanted = Vec::new();
        self.ask(names)?;
        for &name in names {
            match self.candidate(name)? {
                Some(package) => match self.cached(&package) {
                    Some(file) => {
                        files.insert(name, file);
                    }
                    None => wanted.push(package),
                },
                // The archive drops old kernels; a copy from before is as good.
                None => match self.cached_any(name) {
                    Some(file) => {
                        files.insert(name, file);
                    }
                    None => {
                        return Err(Error::Gone { name: name.to_owned(), others: Vec::new() });
                    }
                },
            }
        }
        let downloaded = self.download(&wanted)?;
        for (package, file) in wanted.iter().zip(downloaded) {
            if let Some(&name) = names.iter().find(|name| **name == package.name) {
                files.insert(name, file);
            }
        }
        Ok(names.iter().filter_map(|name| files.get(name).cloned()).collect())
    }

    /// Whether apt offers the package or the cache has it.
    ///
    /// # Errors
    /// When apt-cache does not start.
    pub fn has(&self, name: &str) -> Result<bool, Error> {
        Ok(self.candidate(name)?.is_some() || self.cached_any(name).is_some())
    }

    /// The names of packages in the cache that begin with `prefix`.
    pub(crate) fn cached_names(&self, prefix: &str) -> Vec<String> {
        let files = self.cached_files(prefix);
        let names = files.iter().filter_map(|path| path.file_name()?.to_str()?.split('_').next());
        names.map(str::to_owned).collect()
    }

    /// Whether the cache has this version of a package.
    pub(crate) fn has_cached(&self, name: &str, version: &str) -> bool {
        !self.cached_files(&format!("{name}_{}_", escape(version))).is_empty()
    }

    fn apt_cache(&self, arguments: &[&str]) -> Result<Output, Error> {
        // Some machines keep no digest of the lists, and apt then takes a second for each call.
        let digest = self.cache.join("apt.bin");
        fs::create_dir_all(&self.cache).map_err(cache_error(&self.cache))?;
        Command::new("apt-cache")
            .arg("-o")
            .arg(format!("Dir::Cache::pkgcache={}", digest.display()))
            .args(["-o", "Dir::Cache::srcpkgcache="])
            .args(arguments)
            .env("LC_ALL", "C")
            .stderr(Stdio::null())
            .output()
            .map_err(|source| Error::Program { program: "apt-cache", source })
    }

    fn folder(&self) -> PathBuf {
        self.cache.join("packages")
    }

    fn cached(&self, package: &Package) -> Option<PathBuf> {
        let start = format!("{}_{}_", package.name, escape(&package.version));
        self.cached_files(&start).pop()
    }

    fn cached_any(&self, name: &str) -> Option<PathBuf> {
        self.cached_files(&format!("{name}_")).pop()
    }

    fn cached_files(&self, start: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.folder()) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().and_then(OsStr::to_str).unwrap_or("");
                name.starts_with(start) && name.ends_with(".deb")
            })
            .collect();
        files.sort();
        files
    }

    fn download(&self, packages: &[Package]) -> Result<Vec<PathBuf>, Error> {
        if packages.is_empty() {
            return Ok(Vec::new());
        }
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(cache_error(&folder))?;
        let work = tempfile::tempdir_in(&folder).map_err(cache_error(&folder))?;
        download::run(packages, work.path())?;

        let mut files = Vec::new();
        for package in packages {
            let start = format!("{}_", package.name);
            let found = list(work.path())?
                .into_iter()
                .find(|path| {
                    path.file_name()
                        .is_some_and(|name| name.as_encoded_bytes().starts_with(start.as_bytes()))
                })
                .ok_or_else(|| Error::Download {
                    names: package.name.clone(),
                    message: String::from("apt-get left no file"),
                })?;
            let place = folder.join(found.file_name().unwrap_or_default());
            fs::rename(&found, &place).map_err(cache_error(&place))?;
            files.push(place);
        }
        Ok(files)
    }

    /// Unpacks a package file; a folder that is there already is complete.
    fn unpack(&self, file: &Path) -> Result<PathBuf, Error> {
        let parent = self.cache.join("unpacked");
        let place = parent.join(file.file_stem().unwrap_or_default());
        if place.is_dir() {
            return Ok(place);
        }
        self.unpack_together(&[file.to_owned()], &place, |_| Ok(()))?;
        Ok(place)
    }

    /// Unpacks several package files into one folder, lets `finish` change the tree, and puts it
    /// in place as a whole.
    ///
    /// # Errors
    /// When a file cannot be unpacked or `finish` fails.
    pub fn unpack_together(
        &self,
        files: &[PathBuf],
        place: &Path,
        finish: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let parent = self.cache.join("unpacked");
        fs::create_dir_all(&parent).map_err(cache_error(&parent))?;
        let work = tempfile::tempdir_in(&parent).map_err(cache_error(&parent))?;
        let tree = work.path().join("tree");
        fs::create_dir(&tree).map_err(cache_error(&tree))?;
        for file in files {
            let output = Command::new("dpkg-deb")
                .arg("--extract")
                .args([file, &tree])
                .output()
                .map_err(|source| Error::Program { program: "dpkg-deb", source })?;
            if !output.status.success() {
                return Err(Error::Unpack {
                    path: file.clone(),
                    message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                });
            }
        }
        finish(&tree)?;
        match fs::rename(&tree, place) {
            Ok(()) => Ok(()),
            // Somebody else was faster.
            Err(_) if place.is_dir() => Ok(()),
            Err(source) => Err(Error::Cache { path: place.to_owned(), source }),
        }
    }

    /// The folder for an unpacked tree of several packages.
    pub fn place(&self, name: &str) -> PathBuf {
        self.cache.join("unpacked").join(name)
    }
}

/// As apt writes a version in a file name.
fn escape(version: &str) -> String {
    version.replace(':', "%3a")
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(cache_error(folder))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}
