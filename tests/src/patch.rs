//! One `cargo xtask patch`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::Version;
use lucos_debian_archive::packages::Consent;
use lucos_patch_builder::builder::cache_folder;
use lucos_patch_builder::kernel_tree::KernelTree;
use lucos_patch_builder::manifest::{Fix, Manifest, Revision};
use lucos_patch_builder::pinned;
use lucos_patch_builder::progress::Progress;
use serde_json::Value;
use wait_timeout::ChildExt;

use crate::fixes::OwnChange;

/// A build at the latest ends after this; the first one of a kernel downloads and unpacks sources, and
/// the first change of a header asks the compiler what each file includes.
const LIMIT: Duration = Duration::from_secs(3600);

/// A patch that was built.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Its name.
    pub name: String,
    /// The module.
    pub module: PathBuf,
    /// The functions that change, sorted.
    pub changes: BTreeSet<String>,
    /// What the kernel may go on using after a rollback, so that the module stays loaded.
    pub kept: BTreeSet<String>,
}

impl Patch {
    /// Builds a fix of the distribution for the kernel `running` into a folder.
    ///
    /// # Errors
    /// When the build fails, with what it said.
    pub fn of_fix(fixes: &Manifest, fix: &Fix, folder: &Path) -> Result<Self, Failed> {
        let mut arguments = vec!["--from-debian", &fixes.fixed.source];
        arguments.extend(fix.files.iter().flat_map(|file| ["--file", file]));
        arguments.extend(fix.functions.iter().flat_map(|name| ["--function", name]));
        arguments.extend(fix.subject.iter().flat_map(|text| ["--description", text]));
        build(&fix.name, &fixes.running, &arguments, folder)
    }

    /// Builds a change of our own.
    ///
    /// # Errors
    /// When its function is not there, or the build fails.
    pub fn of_change(
        running: &Revision,
        change: &OwnChange,
        folder: &Path,
    ) -> Result<Self, Failed> {
        let source = sources(running)?.join(&change.file);
        let text = std::fs::read_to_string(&source)
            .map_err(|error| format!("{}: {error}", source.display()))?;
        let diff = folder.join(format!("{}.diff", change.name));
        std::fs::write(&diff, change.diff(&text)?)?;
        build(&change.name, running, &[&diff.to_string_lossy()], folder)
    }
}

fn build(
    name: &str,
    running: &Revision,
    arguments: &[&str],
    folder: &Path,
) -> Result<Patch, Failed> {
    let module = folder.join(format!("{name}.ko"));
    let built = explain(running, arguments, &module)?;
    if !built.is_success {
        return Err(format!("{name} was not built:\n{}{}", built.explanation, built.stderr).into());
    }
    let (changes, kept) = (built.changes(), built.kept());
    Ok(Patch { name: name.to_owned(), module, changes, kept })
}

/// What a build printed.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Its exit status was 0.
    pub is_success: bool,
    /// Standard output.
    pub explanation: Value,
    /// Standard error.
    pub stderr: String,
}

impl Explained {
    /// What the kernel may go on using after a rollback.
    #[must_use]
    pub fn kept(&self) -> BTreeSet<String> {
        let kept = self.explanation["kept"].as_array().map_or(&[][..], Vec::as_slice);
        let counts = kept.iter().filter(|one| one["harmless"] == false);
        counts.filter_map(|one| one["what"].as_str()).map(str::to_owned).collect()
    }

    /// The objects that were compiled.
    #[must_use]
    pub fn objects(&self) -> BTreeSet<String> {
        let objects = self.explanation["objects"].as_array().map_or(&[][..], Vec::as_slice);
        objects.iter().filter_map(|object| object["object"].as_str()).map(str::to_owned).collect()
    }

    /// The functions that change.
    #[must_use]
    pub fn changes(&self) -> BTreeSet<String> {
        let objects = self.explanation["objects"].as_array().map_or(&[][..], Vec::as_slice);
        objects
            .iter()
            .flat_map(|object| object["functions"].as_array().map_or(&[][..], Vec::as_slice))
            .filter_map(|function| function["name"].as_str())
            .map(str::to_owned)
            .collect()
    }
}

/// Runs `cargo xtask patch --json` for the kernel `running`.
///
/// # Errors
/// When it does not start or end, or prints something else than JSON.
pub fn explain(running: &Revision, arguments: &[&str], module: &Path) -> Result<Explained, Failed> {
    let name = module.display();
    let folder = tempfile::tempdir()?;
    let (output, errors) = (folder.path().join("stdout"), folder.path().join("stderr"));
    let mut child = crate::xtask()
        .arg("patch")
        .args(arguments)
        .args(["--guest-version", &running.kernel, "--json", "--yes", "-o"])
        .arg(module)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&output)?)
        .stderr(std::fs::File::create(&errors)?)
        .spawn()?;
    let Some(status) = child.wait_timeout(LIMIT)? else {
        child.kill()?;
        child.wait()?;
        return Err(format!("{name}: the build did not end in {} s", LIMIT.as_secs()).into());
    };
    let (stdout, stderr) = (read(&output), read(&errors));
    let explanation = serde_json::from_str(&stdout)
        .map_err(|error| format!("{name}: {error}:\n{stdout}{stderr}"))?;
    Ok(Explained { is_success: status.success(), explanation, stderr })
}

fn read(path: &Path) -> String {
    std::fs::read(path).map_or_else(
        |error| error.to_string(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// The archive with the cache that `cargo xtask` has too.
///
/// # Errors
/// When no variable of the environment says where the cache is.
pub fn archive() -> Result<Archive, Failed> {
    Ok(Archive::new(cache_folder().ok_or("neither XDG_CACHE_HOME nor HOME names a folder")?))
}

/// A manifest with the kernel and the source that the archive has, and whether they are those that
/// it pins.
///
/// # Errors
/// When nothing takes the place of what is gone, or the archive cannot be asked.
pub fn available(manifest: &Manifest) -> Result<(Manifest, bool), Failed> {
    let found = pinned::available(&archive()?, manifest, tell)?;
    let is_pinned = found.running == manifest.running && found.fixed == manifest.fixed;
    Ok((found, is_pinned))
}

/// Tells that the archive has something else than a test asks for.
pub fn tell(what: &str) {
    eprintln!("Note: {what}");
}

/// The unpacked source of a kernel, as the builder keeps it.
///
/// # Errors
/// When it is not there and cannot be fetched.
pub fn sources(running: &Revision) -> Result<PathBuf, Failed> {
    Ok(tree(running)?.pristine())
}

/// A module of a kernel's package, such as `net/sctp/sctp`, unpacked into a folder.
///
/// # Errors
/// When the kernel is not there and cannot be fetched, or has no such module.
pub fn module(running: &Revision, name: &str, folder: &Path) -> Result<PathBuf, Failed> {
    let modules = tree(running)?.kernel.modules.ok_or("the kernel has no modules")?;
    let plain = modules.join("kernel").join(name).with_extension("ko");
    let output = folder.join(plain.file_name().ok_or("a module has a name")?);
    if plain.is_file() {
        std::fs::copy(&plain, &output)?;
        return Ok(output);
    }
    let packed = plain.with_extension("ko.xz");
    let unpacked = Command::new("xz").args(["--decompress", "--stdout"]).arg(&packed).output()?;
    if !unpacked.status.success() {
        let said = String::from_utf8_lossy(&unpacked.stderr);
        return Err(format!("{}: {said}", packed.display()).into());
    }
    std::fs::write(&output, unpacked.stdout)?;
    Ok(output)
}

fn tree(running: &Revision) -> Result<KernelTree, Failed> {
    let version: Version = running.kernel.parse()?;
    let mut progress = Progress::new(true);
    let tree = KernelTree::open(&archive()?, &version, Consent::new(true), &mut progress);
    Ok(tree.map_err(|error| error.to_string())?)
}

/// A diff of a file that puts lines behind lines: for each, behind the first that begins so.
///
/// # Errors
/// When the file has no such line.
pub fn lines_behind(
    running: &Revision,
    file: &str,
    places: &[(&str, &str)],
) -> Result<String, Failed> {
    let source = std::fs::read_to_string(sources(running)?.join(file))?;
    let mut found = Vec::new();
    for (line, added) in places {
        let at = source.lines().position(|text| text.starts_with(line));
        found.push((at.ok_or_else(|| format!("{file} has no line {line:?}"))?, added));
    }
    found.sort_by_key(|(at, _)| *at);
    let mut diff = format!("--- a/{file}\n+++ b/{file}\n");
    let mut more = 0;
    for (at, added) in found {
        let (context, count) = (source.lines().nth(at).unwrap_or_default(), added.lines().count());
        let (from, to) = (at + 1, at + 1 + more);
        diff += &format!("@@ -{from},1 +{to},{} @@\n {context}\n", count + 1);
        diff.extend(added.lines().map(|line| format!("+{line}\n")));
        more += count;
    }
    Ok(diff)
}
