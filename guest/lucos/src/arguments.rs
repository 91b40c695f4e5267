//! What `lucos` is told on its command line: its manual and the completions of shells are made of it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Live updates of the running kernel.
#[derive(Parser)]
#[command(name = "lucos", version)]
pub struct Arguments {
    /// What is to be done.
    #[command(subcommand)]
    pub verb: Verb,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done.
#[derive(Subcommand)]
pub enum Verb {
    /// Put patches in force, all of them in one step, or none.
    Apply {
        /// Patch modules.
        #[arg(required_unless_present = "enabled")]
        files: Vec<PathBuf>,
        /// Those that are enabled for this kernel, one after the other. The exit status is 3 when one
        /// of them is not in force then.
        #[arg(long, conflicts_with_all = ["files", "probation"])]
        enabled: bool,
        /// Take them back by themselves when the kernel oopses, hangs or panics within this time, such
        /// as 30s or 5m.
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        probation: Option<u32>,
    },
    /// Run every check of apply and change nothing.
    Check {
        /// A patch module.
        file: PathBuf,
    },
    /// Take a patch back.
    Rollback {
        /// Name of the patch.
        name: String,
        /// Take the patches along, in the same step, that stand on it or need it.
        #[arg(long)]
        with_dependents: bool,
    },
    /// Have a patch that is in force come into force again after each boot of this kernel.
    Enable {
        /// Name of a patch that was applied since the boot, or a patch module.
        patch: String,
        /// Apply it first.
        #[arg(long)]
        now: bool,
        /// Enable it although nobody has seen it in force, also for another kernel.
        #[arg(long, conflicts_with = "now")]
        untested: bool,
    },
    /// Have a patch not come back after a boot.
    Disable {
        /// Name of the patch.
        name: String,
        /// Take it back too, if it is in force.
        #[arg(long)]
        now: bool,
    },
    /// List the patches that are enabled.
    Enabled,
    /// Note that this boot has lasted with the enabled patches that are in force. A patch that was
    /// tried in two boots without that is held.
    Proven,
    /// List the patches that are loaded.
    List,
    /// Show the state of LUCOS.
    Status,
    /// Show a patch with its functions.
    Show {
        /// Name of the patch.
        name: String,
    },
    /// Print the log of LUCOS, and what became of patches: when, and who asked for it.
    Log,
    /// Stop and resume all processors, and say how long the longest stop took.
    MeasureStop {
        /// How many times.
        count: u64,
    },
    /// Write a module with the addresses of this kernel's symbols and load nothing. Prints the
    /// parameter that a patch needs to be loaded then, if any.
    Resolve {
        /// Any kernel module.
        file: PathBuf,
        /// Where it is written to.
        output: PathBuf,
    },
}

/// A time of a second to a day, in seconds.
fn seconds(time: &str) -> Result<u32, String> {
    let time = humantime::parse_duration(time).map_err(|error| error.to_string())?;
    match u32::try_from(time.as_secs()) {
        Ok(seconds) if (1..=86_400).contains(&seconds) => Ok(seconds),
        _ => Err("a probation lasts from a second to a day".to_owned()),
    }
}
