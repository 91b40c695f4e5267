//! What `enable`, `disable`, `enabled`, `apply --enabled` and `proven` do.

use std::fs;
use std::path::{Path, PathBuf};

use crate::enabled::{self, ATTEMPTS, Entry, STATE, Store};
use crate::error::Error;
use crate::patch_file::PatchFile;
use crate::{commands, manager, system};

/// Where the files of patches are kept that were applied since the boot.
const APPLIED: &str = "/run/lucos/applied";

/// The word of the kernel's command line with which nothing is applied at boot.
const NO_APPLY: &str = "lucos.noapply";

/// What `enable` may do besides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leave {
    /// Apply it first.
    pub now: bool,
    /// Enable what nobody has seen in force, also for another kernel.
    pub untested: bool,
}

/// How an enabled patch stands.
#[derive(Debug)]
pub enum Standing {
    /// It is in force, and was before.
    InForce,
    /// It has come into force now.
    Applied,
    /// It is not in force.
    Waiting,
    /// So many boots have tried it, and none of them lasted.
    Held,
    /// It is for another kernel.
    OtherKernel,
    /// It did not come into force.
    Refused(Error),
}

impl Standing {
    /// One word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Applied => "applied",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::OtherKernel => "other kernel",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether the patch is in force.
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        matches!(self, Self::InForce | Self::Applied)
    }
}

/// Keeps the files of patches that were applied, so that `enable` finds them by their names. Nothing
/// else depends on it.
pub fn note_applied(paths: &[PathBuf]) {
    for path in paths {
        let Ok(patch) = PatchFile::read(path) else { continue };
        if enabled::check_word(&patch.name).is_ok() {
            let _ = enabled::write(&kept_file(&patch.name), &patch.file.image);
        }
    }
}

fn kept_file(name: &str) -> PathBuf {
    Path::new(APPLIED).join(format!("{name}.ko"))
}

/// Enables a patch, given by its name or its file. Gives its name.
///
/// # Errors
/// Any; it is not enabled then.
pub fn enable(patch: &str, leave: Leave) -> Result<String, Error> {
    let path = find_file(patch)?;
    let file = PatchFile::read(&path)?;
    system::check_permissions()?;
    if !leave.untested && !is_in_force(&file)? {
        if !leave.now {
            return Err(Error::NotSeenInForce(file.name));
        }
        let paths = [path];
        commands::apply(&paths, None)?;
        note_applied(&paths);
    }
    Store::new(STATE.into()).put(&file)?;
    Ok(file.name)
}

/// A path has a slash or ends in `.ko`.
fn find_file(patch: &str) -> Result<PathBuf, Error> {
    if patch.contains('/') || patch.ends_with(".ko") {
        return Ok(patch.into());
    }
    let path = kept_file(patch);
    if path.is_file() { Ok(path) } else { Err(Error::NoFile(patch.to_owned())) }
}

/// Whether this very build is in force.
fn is_in_force(file: &PatchFile) -> Result<bool, Error> {
    let loaded = manager::list()?;
    let found = loaded.iter().find(|patch| patch.name == file.name && patch.state.is_in_force());
    Ok(found.is_some_and(|patch| commands::is_build_of(patch, file)))
}

/// Disables a patch, and takes it back when that is wanted too. A patch that is not in force need not
/// be taken back.
///
/// # Errors
/// [`Error::NotEnabled`], and those of files; with `now` those of [`commands::rollback`]: it is
/// disabled then.
pub fn disable(name: &str, now: bool) -> Result<(), Error> {
    system::check_permissions()?;
    if Store::new(STATE.into()).remove(name)? == 0 {
        return Err(Error::NotEnabled(name.to_owned()));
    }
    if now && commands::in_force()?.iter().any(|other| other == name) {
        commands::rollback(name, false)?;
    }
    Ok(())
}

/// The enabled patches of all kernels, and how each stands.
///
/// # Errors
/// Those of files and of the update manager.
pub fn list() -> Result<Vec<(Entry, Standing)>, Error> {
    let store = Store::new(STATE.into());
    let (running, in_force) = (system::kernel_release(), commands::in_force()?);
    let standing = |entry: &Entry| {
        if entry.kernel != running {
            return Ok(Standing::OtherKernel);
        }
        if in_force.contains(&entry.name) {
            return Ok(Standing::InForce);
        }
        Ok(if store.is_held(entry)? { Standing::Held } else { Standing::Waiting })
    };
    let entries = store.all()?.into_iter();
    entries.map(|entry| standing(&entry).map(|standing| (entry, standing))).collect()
}

/// Applies what is enabled for the running kernel, in order. A patch that is refused stops no other
/// one, and is tried again in the next boot. Each attempt is on the disk before it begins, so that one
/// that ends the boot is counted. Nothing is done when the kernel's command line says so.
///
/// # Errors
/// Those of files and of the update manager.
pub fn apply_enabled() -> Result<Vec<(Entry, Standing)>, Error> {
    system::check_permissions()?;
    let store = Store::new(STATE.into());
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let forbidden = command_line.split_ascii_whitespace().any(|word| word == NO_APPLY);
    let mut all = list()?;
    all.retain(|(_, standing)| !matches!(standing, Standing::OtherKernel));
    for (entry, standing) in &mut all {
        if matches!(standing, Standing::Waiting) && !forbidden {
            store.begin(entry)?;
            *standing = match commands::apply(std::slice::from_ref(&entry.path), None) {
                Ok(_) => Standing::Applied,
                Err(error) => {
                    store.note_refused(entry)?;
                    Standing::Refused(error)
                }
            };
        }
    }
    Ok(all)
}

/// Notes that this boot has lasted with the patches that are in force. Gives their names.
///
/// # Errors
/// Those of files and of the update manager.
pub fn proven() -> Result<Vec<String>, Error> {
    system::check_permissions()?;
    let store = Store::new(STATE.into());
    let kernel = system::kernel_release();
    let in_force = commands::in_force()?;
    let entries = store.of(&kernel)?.into_iter().filter(|entry| in_force.contains(&entry.name));
    let names: Vec<String> = entries.map(|entry| entry.name).collect();
    let proven: Vec<_> = names.iter().map(|name| (kernel.as_str(), name.as_str())).collect();
    store.release(&proven)?;
    Ok(names)
}

/// One line for a patch.
#[must_use]
pub fn line(entry: &Entry, standing: &Standing) -> String {
    let Entry { name, kernel, .. } = entry;
    match standing {
        Standing::Refused(error) => format!("{name}: refused: {error}\n"),
        Standing::Held => format!(
            "{name}: held: {ATTEMPTS} boots with it did not last (lucos enable {name} lets it go)\n"
        ),
        Standing::OtherKernel => format!("{name}: for another kernel, {kernel}\n"),
        standing => format!("{name}: {}\n", standing.word()),
    }
}
