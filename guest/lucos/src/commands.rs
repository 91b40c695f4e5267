//! What each command does.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::reply::{LoadedState, Verdict};
use serde_json::{Value, json};

use crate::answer::Patch;
use crate::error::Error;
use crate::kallsyms::{self, Symbols};
use crate::manager;
use crate::patch_file::{ModuleFile, PatchFile};
use crate::resolve;
use crate::{modules, system};

/// How long a rollback waits for the module to be unloaded before it says that this takes longer.
const UNLOAD_WAIT: Duration = Duration::from_secs(3);

/// How long apply waits for a module of the same name that is on its way out.
const RELOAD_WAIT: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(50);

/// What came of applying one file.
#[derive(Debug)]
pub struct Applied {
    /// Name of the patch.
    pub name: String,
    /// Number of functions.
    pub functions: usize,
    /// Whether the module was still loaded and was put in force again.
    pub again: bool,
}

impl Applied {
    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "name": self.name, "functions": self.functions, "again": self.again })
    }
}

/// Applies a patch.
///
/// # Errors
/// Any; nothing was changed then and nothing stays loaded.
pub fn apply(path: &Path) -> Result<Applied, Error> {
    let file = prepare(path)?;
    let end = Instant::now() + RELOAD_WAIT;
    loop {
        match load_or_rearm(&file) {
            Ok(again) => {
                let functions = file.functions.len();
                return Ok(Applied { name: file.name, functions, again });
            }
            Err(error) if is_passing(&error) && Instant::now() < end => thread::sleep(PAUSE),
            Err(error) => return Err(manager::name_what_is_in_the_way(error)),
        }
    }
}

/// Runs every check of [`apply`], those of LUCOS included, and changes nothing. Gives the name of
/// the patch.
///
/// # Errors
/// The one that [`apply`] would end with.
pub fn check(path: &Path) -> Result<String, Error> {
    let file = prepare(path)?;
    if find_loaded(&file)?.is_some() {
        manager::check(&file.name)?;
        return Ok(file.name);
    }
    match load(&file, "lucos_check=1")? {
        Verdict::Checked => Ok(file.name),
        _ => Err(Error::Unchecked(file.name)),
    }
}

/// What came of a rollback.
#[derive(Debug)]
pub struct RolledBack {
    /// Name of the patch.
    pub name: String,
    /// Whether its module is unloaded.
    pub unloaded: bool,
    /// Whether its code is still in use, and the module stays because of that.
    pub in_use: bool,
    /// Whether the module stays for good, because the kernel may still use what it was given.
    pub kept: bool,
}

/// Takes a patch back and waits a moment for its module to be unloaded.
///
/// # Errors
/// Any; the patch is in force as before then.
pub fn rollback(name: &str) -> Result<RolledBack, Error> {
    manager::rollback(name).map_err(manager::name_what_is_in_the_way)?;
    let end = Instant::now() + UNLOAD_WAIT;
    let mut left = find(name)?;
    let is = |state, left: &Option<Patch>| left.as_ref().is_some_and(|patch| patch.state == state);
    while left.is_some() && !is(LoadedState::Kept, &left) && Instant::now() < end {
        thread::sleep(PAUSE);
        left = find(name)?;
    }
    let in_use = is(LoadedState::Draining, &left);
    let kept = is(LoadedState::Kept, &left);
    Ok(RolledBack { name: name.to_owned(), unloaded: left.is_none(), in_use, kept })
}

fn find(name: &str) -> Result<Option<Patch>, Error> {
    Ok(manager::list()?.into_iter().find(|patch| patch.name == name))
}

/// Reads a file and checks everything that needs no loading.
fn prepare(path: &Path) -> Result<PatchFile, Error> {
    let file = PatchFile::read(path)?;
    system::check_permissions()?;
    file.file.check_kernel(&system::kernel_release())?;
    Ok(file)
}

/// The loaded patch of this name, if it is the same build.
fn find_loaded(file: &PatchFile) -> Result<Option<Patch>, Error> {
    let Some(patch) = find(&file.name)? else {
        return Ok(None);
    };
    let same_build = patch.module == file.file.module
        && file.build_note.is_some()
        && system::loaded_build_note(&patch.module) == file.build_note;
    if patch.state == LoadedState::Kept && !same_build {
        return Err(Error::Kept(file.name.clone()));
    }
    if patch.state != LoadedState::Applied && !same_build {
        return Err(Error::ModuleLoaded(patch.module));
    }
    Ok(Some(patch))
}

/// Loads the module, or puts one in force again that is still loaded. Tells which it was.
fn load_or_rearm(file: &PatchFile) -> Result<bool, Error> {
    if find_loaded(file)?.is_some() {
        manager::apply(&file.name)?;
        return Ok(true);
    }
    load(file, "")?;
    Ok(false)
}

/// Resolves the module's symbols and loads it. Gives the manager's verdict, which is no refusal.
fn load(file: &PatchFile, parameters: &str) -> Result<Verdict, Error> {
    if system::module_state(&file.file.module).is_some() {
        return Err(Error::ModuleLoaded(file.file.module.clone()));
    }
    let (image, used) = resolved_image(&file.file)?;
    let mut parameters = parameters.to_owned();
    if !used.is_empty() {
        parameters.push_str(&format!(" {used}"));
    }
    // How an earlier load ended says nothing about this one.
    let _ = manager::outcome(&file.file.module);
    match system::load_module(&image, parameters.trim_start()) {
        Ok(()) => Ok(Verdict::Applied),
        Err(error) => verdict(file, error),
    }
}

/// A module's image for the running kernel, and the parameter that names the modules whose symbols
/// it uses; empty for none.
fn resolved_image(file: &ModuleFile) -> Result<(Vec<u8>, String), Error> {
    let wanted = resolve::wanted_names(file)?;
    let (symbols, modules) = read_kernel(&wanted)?;
    let resolved = resolve::resolve(file, &symbols, &modules, &system::LoadedSections)?;
    let image = resolve::rewrite(file, &resolved)?;
    let used = resolve::used_modules(&resolved, &modules);
    Ok((image, if used.is_empty() { used } else { format!("lucos_modules={used}") }))
}

/// Writes any module as [`apply`] would load it: with the addresses of this kernel's symbols. Gives
/// the parameter that a patch needs then, which is empty when it uses no module's symbols.
///
/// # Errors
/// Any; nothing was written then.
pub fn resolve(path: &Path, output: &Path) -> Result<String, Error> {
    let file = ModuleFile::read(path)?;
    file.check_kernel(&system::kernel_release())?;
    let (image, used) = resolved_image(&file)?;
    std::fs::write(output, image).map_err(|error| Error::Write(output.into(), error))?;
    Ok(used)
}

fn read_kernel(
    wanted: &BTreeSet<String>,
) -> Result<(Symbols, std::collections::BTreeMap<String, u64>), Error> {
    // The modules first: one that is loaded again meanwhile is noticed by the manager, because
    // its address changes.
    let modules = modules::read(open(modules::PATH)?)?;
    let symbols = Symbols::read(open(kallsyms::PATH)?, wanted)?;
    Ok((symbols, modules))
}

fn open(path: &str) -> Result<BufReader<File>, Error> {
    let file = File::open(path).map_err(|error| Error::Read(path.into(), error))?;
    Ok(BufReader::with_capacity(64 * 1024, file))
}

/// What the manager says of a module whose init function failed: that of one that is only checked
/// fails too, so that nothing stays loaded.
fn verdict(file: &PatchFile, error: io::Error) -> Result<Verdict, Error> {
    match manager::outcome(&file.file.module)? {
        Verdict::Checked => Ok(Verdict::Checked),
        // The manager has nothing against it: the kernel has.
        _ if error.kind() == io::ErrorKind::PermissionDenied => Err(Error::LoadForbidden),
        _ => Err(Error::Load(file.file.module.clone(), error)),
    }
}

/// Whether a patch could not be loaded because a module of its name is just coming or going.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::ModuleLoaded(name) => system::module_state(name).as_deref() != Some("live"),
        Error::Refused(refusal) => refusal.code == ErrorCode::UnknownPatch,
        Error::Load(_, error) => {
            matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy)
        }
        _ => false,
    }
}
