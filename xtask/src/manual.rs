//! `cargo xtask manual`: manual pages of `lucos`, and completions for shells.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use lucos::arguments::Arguments;

use crate::workspace::Workspace;

/// Commands for whoever administers a system.
const SECTION: &str = "8";

/// Options of `manual`.
#[derive(Args)]
pub struct ManualArgs {
    /// Where the files go [default: lucos/manual in cargo's target folder].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Writes a page for `lucos` and each of its verbs (section 8), and completions for bash, fish and zsh,
/// all of them made of the command's own definition.
///
/// # Errors
/// When a file cannot be written.
pub fn run(workspace: &Workspace, args: &ManualArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| workspace.target.join("lucos/manual"));
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    write(&out).with_context(|| out.display().to_string())?;
    println!("{}", out.display());
    Ok(())
}

fn write(out: &Path) -> io::Result<()> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, "lucos", out)?;
    }
    for page in [&command].into_iter().chain(command.get_subcommands()) {
        Man::new(page.clone()).section(SECTION).generate_to(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::write;
    use clap::CommandFactory as _;
    use lucos::arguments::Arguments;
    use std::fs;

    #[test]
    fn each_verb_has_a_page_and_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let completions = fs::read_to_string(folder.path().join("lucos.bash")).unwrap();
        for verb in Arguments::command().get_subcommands() {
            let name = verb.get_name();
            let page = fs::read_to_string(folder.path().join(format!("lucos-{name}.8"))).unwrap();
            assert!(page.contains(&format!(".TH lucos-{name} 8")), "{name}: {page}");
            assert!(completions.contains(&format!("lucos,{name})")), "{name}");
        }
    }
}
