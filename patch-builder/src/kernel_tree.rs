//! A kernel's own source tree, configured and prepared as its package was, in a cache.
//!
//! `kernels/RELEASE_VERSION/` holds `pristine` (the source package as it is), `tree` (hard links to
//! it, with what the kernel's build system adds) and `objects` (what was compiled without a
//! change, in a folder for each way to compile). A changed file replaces its link in `tree` while a build goes on.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::{GuestKernel, Version};
use lucos_debian_archive::packages::{self, Consent, Need};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::error::{Error, at};
use crate::flags::{self, Purpose};
use crate::make::{COMPILER, Make};
use crate::programs::run;
use crate::progress::Progress;
use crate::work_tree::WorkTree;

const NEEDS: [Need; 11] = [
    Need { file: "make", package: "make" },
    Need { file: COMPILER, package: "gcc-12" },
    Need { file: "ld", package: "binutils" },
    Need { file: "flex", package: "flex" },
    Need { file: "bison", package: "bison" },
    Need { file: "bc", package: "bc" },
    Need { file: "pahole", package: "pahole" },
    Need { file: "xz", package: "xz-utils" },
    Need { file: "perl", package: "perl" },
    Need { file: "/usr/include/libelf.h", package: "libelf-dev" },
    Need { file: "/usr/include/openssl/ssl.h", package: "libssl-dev" },
];

/// A prepared source tree, without a change when it is opened. Nobody else builds in it while this
/// exists.
pub struct KernelTree {
    /// The kernel's packages.
    pub kernel: GuestKernel,
    /// Version of the source package.
    pub version: String,
    /// It is built for indirect branch tracking: functions begin with an ENDBR.
    pub has_ibt: bool,
    place: PathBuf,
    /// What holds `tree` and the note of what is changed in it.
    work: PathBuf,
    _lock: File,
}

/// A kernel whose tree can be opened.
struct Found {
    kernel: GuestKernel,
    version: String,
    has_ibt: bool,
    place: PathBuf,
}

impl Found {
    fn find(
        archive: &Archive,
        version: &Version,
        consent: Consent,
        progress: &mut Progress,
    ) -> Result<Self, Error> {
        packages::ensure(&NEEDS, consent).map_err(Error::Needs)?;
        let kernel =
            progress.stage("Packages of the kernel", || GuestKernel::fetch(archive, version))?;
        if kernel.headers.is_none() {
            return Err(Error::Package(lucos_debian_archive::archive::Error::Gone {
                name: format!("linux-headers-{}", kernel.release),
                others: Vec::new(),
            }));
        }
        let configuration = configuration(&kernel)?;
        check_compiler(&configuration)?;
        let has_ibt = configuration.lines().any(|line| line == "CONFIG_X86_KERNEL_IBT=y");
        let version = package_version(archive, &kernel)?;
        let place = archive.cache().join("kernels").join(format!("{}_{version}", kernel.release));
        fs::create_dir_all(&place).map_err(at(&place))?;
        Ok(Self { kernel, version, has_ibt, place })
    }

    fn open(self, archive: &Archive, progress: &mut Progress) -> Result<KernelTree, Error> {
        let Self { kernel, version, has_ibt, place } = self;
        let lock = lock(&place.join("lock"))?;
        let tree = KernelTree { kernel, version, has_ibt, work: place.clone(), place, _lock: lock };
        if !tree.marker().exists() {
            tree.prepare(archive, progress)?;
        }
        tree.work_tree().restore()?;
        Ok(tree)
    }
}

impl KernelTree {
    /// The tree of a kernel version, made when it is not in the cache.
    ///
    /// # Errors
    /// When a package is gone, a program is missing, the compiler is another one than the
    /// kernel's, or the kernel's build system fails.
    pub fn open(
        archive: &Archive,
        version: &Version,
        consent: Consent,
        progress: &mut Progress,
    ) -> Result<Self, Error> {
        let found = Found::find(archive, version, consent, progress)?;
        found.open(archive, progress)
    }

    /// Another tree beside that one, for long work: who else builds for the kernel needs not wait.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_beside(
        archive: &Archive,
        version: &Version,
        name: &str,
        consent: Consent,
        progress: &mut Progress,
    ) -> Result<Self, Error> {
        let found = Found::find(archive, version, consent, progress)?;
        let work = found.place.join(name);
        fs::create_dir_all(&work).map_err(at(&work))?;
        let lock = lock(&work.join("lock"))?;
        let copy = work.join("tree");
        if copy.exists() {
            let Found { kernel, version, has_ibt, place } = found;
            let tree = Self { kernel, version, has_ibt, place, work, _lock: lock };
            tree.work_tree().restore()?;
            return Ok(tree);
        }
        let tree = found.open(archive, progress)?;
        let part = work.join("part");
        if part.exists() {
            fs::remove_dir_all(&part).map_err(at(&part))?;
        }
        run(Command::new("cp").arg("-al").args([&tree.root(), &part]))?;
        fs::rename(&part, &copy).map_err(at(&copy))?;
        Ok(Self { work, _lock: lock, ..tree })
    }

    /// The tree that objects are built in.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.work.join("tree")
    }

    /// The folder that the tree is in.
    #[must_use]
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The folder of the kernel, for what is found out once.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The source package as it is.
    #[must_use]
    pub fn pristine(&self) -> PathBuf {
        self.place.join("pristine")
    }

    /// Where objects without a change are kept that were compiled for a purpose.
    #[must_use]
    pub fn objects(&self, purpose: Purpose) -> PathBuf {
        self.place.join("objects").join(flags::settings(purpose))
    }

    /// What puts a change into the tree.
    pub(crate) fn work_tree(&self) -> WorkTree {
        WorkTree::new(self.root(), self.pristine(), self.work.join("changed"))
    }

    /// A `make` of the kernel in this tree.
    #[must_use]
    pub fn make(&self) -> Make {
        Make::new(&self.root()).variable("KERNELRELEASE", &self.kernel.release)
    }

    fn marker(&self) -> PathBuf {
        self.place.join("prepared")
    }

    fn prepare(&self, archive: &Archive, progress: &mut Progress) -> Result<(), Error> {
        let (root, pristine) = (self.root(), self.pristine());
        for folder in [&root, &pristine, &self.place.join("objects")] {
            if folder.exists() {
                fs::remove_dir_all(folder).map_err(at(folder))?;
            }
        }
        progress.stage("Sources", || unpack_source(archive, &self.version, &pristine))?;
        progress.stage("Preparing the source tree", || {
            run(Command::new("cp").arg("-al").args([&pristine, &root]))?;
            let config = self.image_file("config");
            fs::copy(&config, root.join(".config")).map_err(at(&config))?;
            self.make().run(&["olddefconfig"])?;
            self.make().run(&["modules_prepare"])?;
            let marker = self.marker();
            fs::write(&marker, "").map_err(at(&marker))
        })
    }

    /// A file of the image's package in `/boot`.
    fn image_file(&self, kind: &str) -> PathBuf {
        self.kernel.image.with_file_name(format!("{kind}-{}", self.kernel.release))
    }
}

/// The source package of a version, unpacked: `linux-source-6.1` for 6.1.170-3.
///
/// # Errors
/// When it is gone or cannot be unpacked.
pub fn unpack_source(archive: &Archive, version: &str, place: &Path) -> Result<(), Error> {
    let package = source_package(version);
    let file = archive.file_of_version(&package, version)?;
    let parent = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(at(parent))?;
    let work = tempfile::Builder::new().prefix("unpack-").tempdir_in(parent).map_err(at(parent))?;
    run(Command::new("dpkg-deb").arg("--extract").args([file.as_path(), work.path()]))?;
    let packed = work.path().join("usr/src").join(format!("{package}.tar.xz"));
    let unpacked = work.path().join("source");
    fs::create_dir(&unpacked).map_err(at(&unpacked))?;
    run(Command::new("tar")
        .arg("--extract")
        .arg("--file")
        .arg(&packed)
        .arg("--directory")
        .arg(&unpacked)
        .arg("--strip-components=1"))?;
    take_place(&unpacked, place)
}

/// Puts a folder in its place. When another build has put the same there meanwhile, that one stays.
fn take_place(made: &Path, place: &Path) -> Result<(), Error> {
    match fs::rename(made, place) {
        Err(_) if place.is_dir() => Ok(()),
        result => result.map_err(at(place)),
    }
}

/// Checks a version that becomes part of a file's name.
fn check_version(version: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '~');
    let is_good = version.starts_with(|c: char| c.is_ascii_digit())
        && version.chars().all(allowed)
        && !version.contains("..");
    if is_good { Ok(()) } else { Err(Error::SourceVersion(version.to_owned())) }
}

/// The changelog of a source package.
///
/// # Errors
/// When the package is gone or has no changelog.
pub fn changelog(archive: &Archive, version: &str) -> Result<String, Error> {
    check_version(version)?;
    let package = source_package(version);
    let file = archive.file_of_version(&package, version)?;
    let failed = |message: String| Error::Program { program: "dpkg-deb".into(), message };
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut text = None;
    if let Some(output) = child.stdout.take() {
        let mut files = tar::Archive::new(output);
        let entries = files.entries().map_err(|error| failed(error.to_string()))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(error.to_string()))?;
            if entry.path_bytes().ends_with(b"/changelog.Debian.gz") {
                let mut unpacked = String::new();
                GzDecoder::new(entry)
                    .read_to_string(&mut unpacked)
                    .map_err(|error| failed(error.to_string()))?;
                text = Some(unpacked);
                break;
            }
        }
    }
    // It may still want to write the rest.
    let _ = child.kill();
    let _ = child.wait();
    text.ok_or_else(|| failed(format!("{} has no changelog", file.display())))
}

/// The newer source that a fix is taken from, unpacked in the cache.
///
/// # Errors
/// When the version has not the form of one, or it is gone or cannot be unpacked.
pub fn newer_source(
    archive: &Archive,
    version: &str,
    progress: &mut Progress,
) -> Result<PathBuf, Error> {
    check_version(version)?;
    let place = archive.cache().join("sources").join(version);
    if !place.exists() {
        progress.stage("Newer sources", || unpack_source(archive, version, &place))?;
    }
    Ok(place)
}

/// The name of the source package of a version.
#[must_use]
pub fn source_package(version: &str) -> String {
    let series: Vec<&str> = version.split(['.', '-', '~']).take(2).collect();
    format!("linux-source-{}", series.join("."))
}

/// The version of the image's package, which is that of its source: in the name of the file.
fn package_version(archive: &Archive, kernel: &GuestKernel) -> Result<String, Error> {
    let name = format!("linux-image-{}", kernel.release);
    let file = archive.files(&[&name])?.pop().unwrap_or_default();
    let stem = file.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let version = stem.split('_').nth(1).unwrap_or_default();
    Ok(version.replace("%3a", ":"))
}

/// The kernel's configuration, as its package has it.
fn configuration(kernel: &GuestKernel) -> Result<String, Error> {
    let file = kernel.image.with_file_name(format!("config-{}", kernel.release));
    fs::read_to_string(&file).map_err(at(&file))
}

/// Only the compiler that built the kernel makes the same code.
fn check_compiler(configuration: &str) -> Result<(), Error> {
    let key = "CONFIG_CC_VERSION_TEXT=";
    let wanted = configuration.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    let wanted = last_word(wanted.trim_matches('"'));
    let output = Command::new(COMPILER)
        .arg("-dumpfullversion")
        .output()
        .map_err(|error| Error::Program { program: COMPILER.into(), message: error.to_string() })?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if wanted == found {
        return Ok(());
    }
    Err(Error::Compiler { wanted, found })
}

fn last_word(text: &str) -> String {
    text.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// Whoever has the lock may use the tree. Programs that are started have it too: a make that
/// outlives this program keeps others out until it has ended.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(at(path))?;
    fcntl_setfd(file.as_fd(), FdFlags::empty())
        .map_err(|error| Error::File { path: path.to_owned(), source: error.into() })?;
    if flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
        eprintln!("Waiting for another build for this kernel");
        flock(file.as_fd(), FlockOperation::LockExclusive)
            .map_err(|error| Error::File { path: path.to_owned(), source: error.into() })?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_packages_have_the_series_in_their_names() {
        assert_eq!(source_package("6.1.170-3"), "linux-source-6.1");
        assert_eq!(source_package("6.12.117-1~deb12u1"), "linux-source-6.12");
    }

    #[test]
    fn a_version_stays_in_its_folder() {
        for version in ["6.1.192-2", "6.12.117-1~deb12u1", "6.1.1+b1-1"] {
            assert!(check_version(version).is_ok(), "{version}");
        }
        for version in ["", "..", "6..1", "/etc", "6.1/../..", "6.1/x", "v6.1", "6.1 2", "6\n"] {
            assert!(check_version(version).is_err(), "{version:?}");
        }
    }

    #[test]
    fn who_comes_second_takes_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (made, place) = (folder.path().join("made"), folder.path().join("6.1.1-1"));
        for name in ["first", "second"] {
            fs::create_dir(&made).unwrap();
            fs::write(made.join("Makefile"), name).unwrap();
            take_place(&made, &place).unwrap();
        }
        assert_eq!(fs::read_to_string(place.join("Makefile")).unwrap(), "first");
        assert!(take_place(&folder.path().join("none"), &folder.path().join("other")).is_err());
    }

    #[test]
    fn a_program_that_outlives_us_keeps_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        drop(held);
        let other = File::create(&path).unwrap();
        let is_free = || flock(other.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok();
        let free = is_free();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!free, "the program is still there");
        // A program that another test starts meanwhile may have it too.
        let mut tries = (0..100).map(|_| std::thread::sleep(std::time::Duration::from_millis(100)));
        assert!(is_free() || tries.any(|()| is_free()), "the program has ended");
    }

    #[test]
    fn the_compilers_version_is_the_last_word() {
        assert_eq!(last_word("gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"), "12.2.0");
    }
}
