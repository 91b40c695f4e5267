//! The verb `patch`: the patch builder, with the update manager of this source tree.

use std::path::PathBuf;

use anyhow::Result;
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::{Kernel, Version};
use lucos_debian_archive::packages::Consent;
use lucos_patch_builder::arguments::{self, BuildArgs};

use crate::modules;
use crate::workspace::Workspace;

/// Builds a patch; whether there is one.
pub fn run(workspace: &Workspace, args: &BuildArgs) -> bool {
    let archive = Archive::new(&workspace.cache);
    let consent = Consent::new(args.yes);
    let symbols = |version: &Version| manager_symbols(workspace, &archive, version, consent);
    match args.run(&archive, symbols) {
        Ok(()) => true,
        Err(error) => {
            arguments::print_error(&error, args.json);
            false
        }
    }
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
    let kernel = Kernel::fetch(archive, version)?;
    let built = modules::build(workspace, &kernel, None, consent)?;
    Ok(built.manager.map(|manager| manager.with_file_name(modules::SYMBOLS)))
}
