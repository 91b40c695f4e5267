//! The guest's initramfs: Debian's busybox and kmod, modules of the kernel, our own parts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::libraries;
use crate::modules;
use crate::tree::{self, Tree};
use lucos_debian_archive::archive::{self, Archive};
use lucos_debian_archive::kernel::GuestKernel;

/// Raised when the way the initramfs is made changes, so that no older file is taken for it.
const RECIPE: &str = "1";

/// The names under which kmod does its work.
const KMOD_NAMES: [&str; 6] =
    ["sbin/depmod", "sbin/insmod", "sbin/lsmod", "sbin/modinfo", "sbin/modprobe", "sbin/rmmod"];

/// Folders that must be there to mount something on.
const MOUNT_POINTS: [&str; 9] =
    ["dev", "mnt", "proc", "root", "run", "sys", "tmp", "var/log", "usr/local/bin"];

/// Why there is no initramfs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package is missing or broken.
    #[error(transparent)]
    Package(#[from] archive::Error),
    /// A program's libraries are not known.
    #[error(transparent)]
    Library(#[from] libraries::Error),
    /// The kernel's modules cannot be chosen.
    #[error(transparent)]
    Modules(#[from] modules::Error),
    /// Something has no place in the guest's root.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// busybox does not tell what it can do.
    #[error("{} does not list its programs", .0.display())]
    Busybox(PathBuf),
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

/// What of ours is in the guest beside the base system.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The update manager's module for the guest's kernel.
    pub manager: Option<PathBuf>,
    /// Patch modules.
    pub patches: Vec<PathBuf>,
    /// The `lucos` command.
    pub command: Option<PathBuf>,
}

impl Parts {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.manager.iter().chain(&self.patches).chain(&self.command)
    }

    /// Adds the parts to a guest's root.
    fn add_to(&self, tree: &mut Tree, release: &str) -> Result<(), Error> {
        if let Some(manager) = &self.manager {
            let path = format!("lib/modules/{release}/extra/lucos.ko");
            tree.file(&path, read(manager)?, false)?;
        }
        for patch in &self.patches {
            let name = patch.file_name().unwrap_or_default().to_string_lossy();
            tree.file(&format!("lib/lucos/patches/{name}"), read(patch)?, false)?;
        }
        if let Some(command) = &self.command {
            tree.file("usr/bin/lucos", read(command)?, true)?;
        }
        Ok(())
    }
}

/// Makes initramfs files from one set of sources.
pub struct Builder<'a> {
    /// Where packages come from.
    pub archive: &'a Archive,
    /// The recipe: `modules.list` and `root/`.
    pub recipe: &'a Path,
    /// Where finished files are kept, by content.
    pub output: &'a Path,
    /// The host's depmod.
    pub depmod: &'a Path,
}

impl Builder<'_> {
    /// Makes our own initramfs for a kernel, or finds the one made from the same content.
    ///
    /// # Errors
    /// When a part is missing or cannot be read.
    pub fn build(&self, kernel: &GuestKernel, parts: &Parts) -> Result<PathBuf, Error> {
        let kmod = self.kmod_packages()?;
        let mut names: Vec<&str> = vec!["busybox-static"];
        names.extend(kmod.iter().map(String::as_str));
        let roots = self.archive.unpacked(&names)?;

        let key = self.key(kernel, parts, &roots)?;
        let place = self.output.join(format!("initramfs-{key}.cpio"));
        if place.is_file() {
            return Ok(place);
        }
        let mut tree = Tree::new();
        for folder in MOUNT_POINTS {
            tree.folder(folder)?;
        }
        tree.console("dev/console")?;
        self.add_busybox(&mut tree, &roots)?;
        self.add_kmod(&mut tree, &roots)?;
        self.add_modules(&mut tree, kernel, parts)?;
        tree.add_host(&self.recipe.join("root"), "")?;
        tree.link("lucos/bin/busybox", "/bin/busybox")?;
        tree.link("init", "/sbin/init")?;
        parts.add_to(&mut tree, &kernel.release)?;
        let archive = tree.cpio().map_err(file_error(&place))?;
        put(&place, &archive)?;
        Ok(place)
    }

    /// What to add to an initramfs of somebody else's so that a command can be run in it:
    /// start with `rdinit=/lucos/bin/busybox -- sh /lucos/init`.
    ///
    /// # Errors
    /// When a part is missing or cannot be read.
    pub fn guest_tools(&self, kernel: &GuestKernel, parts: &Parts) -> Result<Tree, Error> {
        let roots = self.archive.unpacked(&["busybox-static"])?;
        let busybox = find(&roots, "bin/busybox")?;
        let mut tree = Tree::new();
        tree.file("lucos/bin/busybox", read(&busybox)?, true)?;
        for script in ["exec", "init"] {
            let path = self.recipe.join("root/lucos").join(script);
            tree.add_host(&path, &format!("lucos/{script}"))?;
        }
        parts.add_to(&mut tree, &kernel.release)?;
        Ok(tree)
    }

    fn kmod_packages(&self) -> Result<Vec<String>, Error> {
        let mut names = match self.archive.candidate("kmod")? {
            Some(package) => package.depends,
            // Off line: what Debian 12's depends on.
            None => ["libc6", "liblzma5", "libssl3", "libzstd1"].map(str::to_owned).to_vec(),
        };
        names.insert(0, String::from("kmod"));
        Ok(names)
    }

    fn key(&self, kernel: &GuestKernel, parts: &Parts, roots: &[PathBuf]) -> Result<String, Error> {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(RECIPE.as_bytes());
        add(kernel.release.as_bytes());
        for path in roots.iter().chain(&kernel.modules) {
            add(path.as_os_str().as_encoded_bytes());
        }
        let mut recipe = Tree::new();
        recipe.add_host(self.recipe, "")?;
        add(&recipe.cpio().map_err(file_error(self.recipe))?);
        for file in parts.files() {
            add(file.file_name().unwrap_or_default().as_encoded_bytes());
            add(&read(file)?);
        }
        let digest = hash.finalize();
        Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    fn add_busybox(&self, tree: &mut Tree, roots: &[PathBuf]) -> Result<(), Error> {
        let busybox = find(roots, "bin/busybox")?;
        tree.file("bin/busybox", read(&busybox)?, true)?;
        let output =
            Command::new(&busybox).arg("--list-full").output().map_err(file_error(&busybox))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || text.lines().count() < 10 {
            return Err(Error::Busybox(busybox));
        }
        for path in text.lines().filter(|path| *path != "bin/busybox") {
            tree.link(path, "/bin/busybox")?;
        }
        Ok(())
    }

    fn add_kmod(&self, tree: &mut Tree, roots: &[PathBuf]) -> Result<(), Error> {
        let kmod = find(roots, "bin/kmod")?;
        for (inside, file) in libraries::needed(&kmod, roots)? {
            tree.file(&inside, read(&file)?, true)?;
        }
        tree.file("bin/kmod", read(&kmod)?, true)?;
        for name in KMOD_NAMES {
            tree.link(name, "/bin/kmod")?;
        }
        for folder in ["etc/modprobe.d", "lib/modprobe.d", "etc/depmod.d"] {
            let found = find(roots, folder).ok();
            if let Some(path) = found {
                tree.add_host(&path, folder)?;
            }
        }
        Ok(())
    }

    fn add_modules(
        &self,
        tree: &mut Tree,
        kernel: &GuestKernel,
        parts: &Parts,
    ) -> Result<(), Error> {
        let work = tempfile::tempdir().map_err(file_error(&std::env::temp_dir()))?;
        let folder = format!("lib/modules/{}", kernel.release);
        let target = work.path().join(&folder);
        fs::create_dir_all(&target).map_err(file_error(&target))?;
        if let Some(from) = &kernel.modules {
            if !from.join("modules.dep").is_file()
                && let Some(root) = from.ancestors().nth(3)
            {
                // Debian's package leaves this to its installation.
                modules::depmod(self.depmod, root, &kernel.release)?;
            }
            let list = self.recipe.join("modules.list");
            let text = fs::read_to_string(&list).map_err(file_error(&list))?;
            modules::copy_selected(from, &text, &target)?;
        }
        if let Some(manager) = &parts.manager {
            let extra = target.join("extra");
            fs::create_dir_all(&extra).map_err(file_error(&extra))?;
            fs::copy(manager, extra.join("lucos.ko")).map_err(file_error(manager))?;
        }
        modules::depmod(self.depmod, work.path(), &kernel.release)?;
        tree.add_host(&target, &folder)?;
        Ok(())
    }
}

/// Writes a file as a whole: another run may look for it at the same time.
fn put(place: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(file_error(folder))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(file_error(folder))?;
    std::io::Write::write_all(&mut file, bytes).map_err(file_error(place))?;
    file.persist(place).map_err(|error| file_error(place)(error.error))?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(file_error(path))
}

fn find(roots: &[PathBuf], inside: &str) -> Result<PathBuf, Error> {
    roots.iter().map(|root| root.join(inside)).find(|path| path.exists()).ok_or_else(|| {
        Error::File { path: PathBuf::from(inside), source: std::io::ErrorKind::NotFound.into() }
    })
}
