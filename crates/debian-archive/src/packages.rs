//! Installs Debian packages that a verb needs on this machine.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Whether a person is asked before something is installed.
#[derive(Clone, Copy)]
pub struct Consent {
    ask: bool,
}

impl Consent {
    /// Asks only a person at a terminal who has not said `--yes`.
    pub fn new(yes: bool) -> Self {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        Self { ask: terminal && !yes }
    }

    fn obtain(self, what: &str) -> Result<()> {
        if !self.ask {
            eprintln!("{what}");
            return Ok(());
        }
        eprint!("{what}. Go ahead? [Y/n] ");
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            "" | "y" | "Y" | "yes" => Ok(()),
            _ => bail!("not installed, as you wished"),
        }
    }
}

/// A file that a verb needs, and the Debian package that brings it.
pub struct Need {
    /// A program's name, looked up in `PATH`, or an absolute file.
    pub file: &'static str,
    /// The package.
    pub package: &'static str,
}

/// Installs the packages of those needs whose file is not there.
///
/// # Errors
/// When a file is missing and its package cannot be installed.
pub fn ensure(needs: &[Need], consent: Consent) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| find(need.file).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    install(&packages, consent)?;
    match missing.iter().find(|need| find(need.file).is_none()) {
        None => Ok(()),
        Some(need) => {
            bail!("{} is still missing after package {} was installed", need.file, need.package)
        }
    }
}

/// The path of a program in `PATH` or one of the system's program folders, or of an absolute
/// file that exists.
pub fn find(file: &str) -> Option<PathBuf> {
    if file.starts_with('/') {
        let path = PathBuf::from(file);
        return path.exists().then_some(path);
    }
    // A normal user's PATH often lacks the folders of system programs.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(file))
        .find(|candidate| candidate.is_file())
}

/// Installs packages by apt.
///
/// # Errors
/// When there is no apt, the person says no, or apt fails.
pub fn install(packages: &[&str], consent: Consent) -> Result<()> {
    let list = packages.join(" ");
    if find("apt-get").is_none() {
        bail!("this machine has no apt; install by hand what Debian calls: {list}");
    }
    consent.obtain(&format!("Installing Debian packages: {list}"))?;
    if !packages.iter().all(|package| has_candidate(package)) {
        update_lists()?;
    }
    if try_install(packages)? {
        return Ok(());
    }
    // Old lists name files that the archive no longer has.
    update_lists()?;
    if try_install(packages)? {
        return Ok(());
    }
    bail!("apt-get could not install: {list}")
}

fn try_install(packages: &[&str]) -> Result<bool> {
    let mut command = privileged("apt-get")?;
    command
        .args(["install", "-y", "--no-install-recommends", "-qq"])
        .args(["-o", "Dpkg::Use-Pty=0"])
        .args(packages);
    let status = run_beside_output(&mut command).context("apt-get does not start")?;
    Ok(status)
}

/// Fetches apt's package lists.
///
/// # Errors
/// When apt fails.
pub fn update_lists() -> Result<()> {
    eprintln!("Fetching the package lists");
    let mut command = privileged("apt-get")?;
    command.args(["update", "-qq"]);
    if run_beside_output(&mut command).context("apt-get does not start")? {
        Ok(())
    } else {
        bail!("apt-get update failed")
    }
}

/// Whether apt's lists name a version of this package.
pub fn has_candidate(package: &str) -> bool {
    let output = Command::new("apt-cache")
        .args(["policy", package])
        .env("LC_ALL", "C")
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Candidate:"))
            .any(|version| version.trim() != "(none)")
    })
}

fn privileged(program: &str) -> Result<Command> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(program)
    } else if find("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.args(["env", "DEBIAN_FRONTEND=noninteractive", program]);
        sudo
    } else {
        bail!("installing packages needs root or sudo");
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

/// Runs a command whose standard output goes to our standard error: ours belongs to what the
/// verb prints.
///
/// # Errors
/// When it does not start.
pub fn run_beside_output(command: &mut Command) -> io::Result<bool> {
    let status = command.stdout(io::stderr()).status()?;
    Ok(status.success())
}

/// Whether `path` is a file that can be executed, as far as the file system tells.
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
