//! The verb `patch`: the patch builder, with the update manager of this source tree.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::{GuestKernel, Version};
use lucos_debian_archive::packages::Consent;
use lucos_patch_builder::arguments::{self, BuildArgs};

use crate::modules;
use crate::workspace::Workspace;

/// Builds a patch; whether there is one.
pub fn run(workspace: &Workspace, args: &BuildArgs) -> bool {
    let archive = Archive::new(&workspace.cache);
    let consent = Consent::new(args.yes);
    let symbols = |version: &Version| manager_symbols(workspace, &archive, version, consent);
    let result = manifests(workspace).and_then(|list| args.run(&archive, &list, symbols));
    match result {
        Ok(()) => true,
        Err(error) => {
            arguments::print_error(&error, args.json);
            false
        }
    }
}

/// The manifests of the tests.
fn manifests(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let folder = workspace.root.join("tests/fixes");
    let mut list = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("debian-")) {
            list.push(path);
        }
    }
    list.sort();
    Ok(list)
}

/// What the update manager exports.
///
/// # Errors
/// When the kernel cannot be had or the manager not be built.
pub fn manager_symbols(
    workspace: &Workspace,
    archive: &Archive,
    version: &Version,
    consent: Consent,
) -> Result<Option<PathBuf>> {
    let kernel = GuestKernel::fetch(archive, version)?;
    let built = modules::build(workspace, &kernel, None, consent)?;
    Ok(built.manager.map(|manager| manager.with_file_name(modules::SYMBOLS)))
}
