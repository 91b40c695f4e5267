//! What each command does.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::group::MAX_GROUP;
use lucos_guest_interface::reply::{LoadedState, Verdict};
use serde_json::{Value, json};

use crate::answer::{Patch, Value as Left};
use crate::error::{Error, Refusal};
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
    /// Number of values.
    pub values: usize,
    /// Number of data versions.
    pub data_versions: usize,
    /// Whether the module was still loaded and was put in force again.
    pub again: bool,
}

impl Applied {
    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "functions": self.functions,
            "values": self.values,
            "data_versions": self.data_versions,
            "again": self.again
        })
    }

    /// In one line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let count = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            count => Some(format!("{count} {what}s")),
        };
        let counts = [
            count(self.functions, "function"),
            count(self.values, "value"),
            count(self.data_versions, "data version"),
        ];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        format!("applied {} ({})\n", self.name, counts.join(", "))
    }
}

/// Applies patches in one step: all of them come into force, or none. They are on probation for so many
/// seconds.
///
/// # Errors
/// Any; nothing was changed then and nothing stays loaded.
pub fn apply(paths: &[PathBuf], probation: Option<u32>) -> Result<Vec<Applied>, Error> {
    let files = paths.iter().map(|path| prepare(path)).collect::<Result<Vec<_>, _>>()?;
    let again = match files.as_slice() {
        // Only a patch that is loaded can come into force on probation.
        [file] if probation.is_none() => patiently(|| load_or_rearm(file)).map(|again| vec![again]),
        files => apply_together(files, probation),
    };
    let again = again.map_err(manager::name_what_is_in_the_way)?;
    let applied = files.into_iter().zip(again).map(|(file, again)| Applied {
        name: file.name,
        functions: file.functions.len(),
        values: file.values,
        data_versions: file.data_versions,
        again,
    });
    Ok(applied.collect())
}

/// Tries again while a module of the same name is on its way out.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let end = Instant::now() + RELOAD_WAIT;
    loop {
        match attempt() {
            Err(error) if is_passing(&error) && Instant::now() < end => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

/// Loads what is not loaded, and puts all of it in force at once. Tells for each whether it was
/// loaded before.
fn apply_together(files: &[PatchFile], probation: Option<u32>) -> Result<Vec<bool>, Error> {
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    check_together(&names)?;
    let mut again = Vec::new();
    let loaded = files.iter().try_for_each(|file| {
        again.push(patiently(|| load_to_join(file))?);
        Ok(())
    });
    let applied = loaded.and_then(|()| manager::apply(&names, probation));
    if applied.is_err() {
        // What was loaded for this goes. What had been in force for a moment goes by itself.
        for (file, _) in files.iter().zip(&again).filter(|(_, again)| !**again) {
            let _ = system::unload_module(&file.file.module);
        }
    }
    applied.map(|()| again)
}

/// Whether patches can be applied in one step at all.
fn check_together(names: &[&str]) -> Result<(), Error> {
    let refused = |code, subject: &str| {
        Err(Error::Refused(Refusal { code, subject: subject.to_owned(), detail: String::new() }))
    };
    if names.len() > MAX_GROUP {
        return refused(ErrorCode::TooManyPatches, &names.len().to_string());
    }
    let loaded = manager::list()?;
    for (index, name) in names.iter().enumerate() {
        let is_in_force =
            loaded.iter().any(|patch| patch.name == *name && patch.state.is_in_force());
        if is_in_force || names.iter().take(index).any(|earlier| earlier == name) {
            return refused(ErrorCode::AlreadyApplied, name);
        }
    }
    Ok(())
}

/// Loads the module to be applied with others, unless it is loaded. Tells whether it was.
fn load_to_join(file: &PatchFile) -> Result<bool, Error> {
    if find_loaded(file)?.is_some() {
        return Ok(true);
    }
    load(file, "lucos_join=1")?;
    Ok(false)
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
    /// The patches that were taken along, because they stood on it or needed it.
    pub along: Vec<String>,
    /// Values that stay because somebody else has changed them.
    pub left: Vec<Left>,
    /// Whether its module is unloaded.
    pub unloaded: bool,
    /// Whether its code is still in use, and the module stays because of that.
    pub in_use: bool,
    /// Whether the module stays for good, because the kernel may still use what it was given.
    pub kept: bool,
}

/// Takes a patch back, with those that stand on it or need it if that is wanted, and waits a moment
/// for its module to be unloaded.
///
/// # Errors
/// Any; all of them are in force as before then.
pub fn rollback(name: &str, with_dependents: bool) -> Result<RolledBack, Error> {
    let before = in_force()?;
    let module = find(name)?.map(|patch| patch.module);
    let left = manager::rollback(name, with_dependents);
    let left = left.map_err(manager::name_what_is_in_the_way)?;
    let after = in_force()?;
    let is_along = |other: &String| other != name && !after.contains(other);
    let along: Vec<String> = before.into_iter().filter(is_along).collect();
    let along = if with_dependents { along } else { Vec::new() };
    let end = Instant::now() + UNLOAD_WAIT;
    let mut patch = find(name)?;
    // The manager forgets a patch when the exit of its module runs; the kernel still has the module
    // for a moment then.
    let is_gone =
        |patch: &Option<Patch>| patch.is_none() && !module.as_deref().is_some_and(is_loaded);
    let is = |state, patch: &Option<Patch>| patch.as_ref().is_some_and(|one| one.state == state);
    while !is_gone(&patch) && !is(LoadedState::Kept, &patch) && Instant::now() < end {
        thread::sleep(PAUSE);
        patch = find(name)?;
    }
    let in_use = is(LoadedState::Draining, &patch);
    let kept = is(LoadedState::Kept, &patch);
    Ok(RolledBack { name: name.to_owned(), along, left, unloaded: is_gone(&patch), in_use, kept })
}

/// Whether the kernel lists a module of this name, in whatever state.
fn is_loaded(module: &str) -> bool {
    let loaded = open(modules::PATH).and_then(modules::read);
    loaded.is_ok_and(|loaded| loaded.contains_key(module))
}

/// Names of the patches that are in force.
pub(crate) fn in_force() -> Result<Vec<String>, Error> {
    let applied = |patch: &Patch| patch.state.is_in_force();
    Ok(manager::list()?.into_iter().filter(applied).map(|patch| patch.name).collect())
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
    let same_build = is_build_of(&patch, file);
    if patch.state == LoadedState::Kept && !same_build {
        return Err(Error::Kept(file.name.clone()));
    }
    if !patch.state.is_in_force() && !same_build {
        return Err(Error::ModuleLoaded(patch.module));
    }
    Ok(Some(patch))
}

/// Whether a loaded patch was loaded from this very build.
pub(crate) fn is_build_of(patch: &Patch, file: &PatchFile) -> bool {
    patch.module == file.file.module
        && file.build_note.is_some()
        && system::loaded_build_note(&patch.module) == file.build_note
}

/// Loads the module, or puts one in force again that is still loaded. Tells which it was.
fn load_or_rearm(file: &PatchFile) -> Result<bool, Error> {
    if find_loaded(file)?.is_some() {
        manager::apply(&[&file.name], None)?;
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
        // A hook that failed lets the module stay: somebody may be in its code.
        Ok(()) => manager::outcome(&file.file.module),
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
