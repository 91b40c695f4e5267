//! The command line that `lucos-build` and `cargo xtask patch` share.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lucos_debian_archive::archive::Archive;
use lucos_debian_archive::kernel::Version;
use lucos_debian_archive::packages::Consent;

use crate::builder::{Origin, Request, build};
use crate::progress::Progress;

/// What is to be built.
#[derive(Args)]
pub struct BuildArgs {
    /// A unified diff against the kernel's source.
    #[arg(value_name = "DIFF", conflicts_with = "from_debian")]
    pub diff: Option<PathBuf>,
    /// The version of the distribution's source package that has the fix, such as 6.1.192-2.
    #[arg(long, value_name = "VERSION", requires = "files")]
    pub from_debian: Option<String>,
    /// A file whose difference is the fix; may be given several times.
    #[arg(long = "file", value_name = "FILE", requires = "from_debian")]
    pub files: Vec<String>,
    /// Only what differs in this function, and what it newly uses; may be given several times.
    #[arg(long = "function", value_name = "NAME", requires = "from_debian")]
    pub functions: Vec<String>,
    /// The kernel that the patch is for, such as 6.1.0-47.
    #[arg(long, value_name = "VERSION")]
    pub guest_version: Version,
    /// The module to write; its name is the patch's.
    #[arg(long, short, value_name = "FILE", default_value = "patch.ko")]
    pub output: PathBuf,
    /// What the patch does.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Explain in JSON.
    #[arg(long)]
    pub json: bool,
    /// Install what is missing without asking.
    #[arg(long)]
    pub yes: bool,
}

impl BuildArgs {
    /// Builds the patch and prints the explanation. `manager_symbols` finds the `Module.symvers`
    /// of the update manager for a kernel.
    ///
    /// # Errors
    /// When there is no patch.
    pub fn run(
        &self,
        archive: &Archive,
        manager_symbols: impl FnOnce(&Version) -> Result<Option<PathBuf>>,
    ) -> Result<()> {
        let request = Request {
            kernel: self.guest_version.clone(),
            origin: self.origin()?,
            output: self.output.clone(),
            description: self.description.clone(),
            manager_symbols: manager_symbols(&self.guest_version)?,
        };
        let consent = Consent::new(self.yes);
        let explanation = build(archive, &request, consent, Progress::new(self.json))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&explanation)?);
        } else {
            print!("{explanation}");
        }
        Ok(())
    }

    fn origin(&self) -> Result<Origin> {
        match (&self.diff, &self.from_debian) {
            (Some(path), _) => Ok(Origin::Diff(path.clone())),
            (None, Some(version)) => Ok(Origin::Debian {
                version: version.clone(),
                files: self.files.clone(),
                functions: self.functions.clone(),
            }),
            (None, None) => bail!("give a diff, or --from-debian with --file"),
        }
    }
}

/// Prints why there is no patch.
pub fn print_error(error: &anyhow::Error, json: bool) {
    if json {
        println!("{}", serde_json::json!({ "error": format!("{error:#}") }));
    } else {
        eprintln!("error: {error:#}");
    }
}
