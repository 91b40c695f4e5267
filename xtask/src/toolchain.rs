//! Finds or makes a Rust toolchain that builds for the bare machine.
//!
//! The order is the cheapest first: the active toolchain as it is; a sysroot built earlier;
//! `rustup target add`, which may hang on a silent network and so has a time limit; a sysroot
//! built from library sources that are on this machine; Debian's Rust packages, which bring such
//! sources. `LUCOS_TOOLCHAIN=native|rustup|sysroot|debian` allows one way only.

mod sysroot;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use wait_timeout::ChildExt;

use crate::workspace::Workspace;
use lucos_debian_archive::packages::{self, Consent};

/// The target of everything that runs on the bare machine.
pub const TARGET: &str = "x86_64-unknown-none";

/// The lowest release of rustc that builds the project, as (major, minor).
const OLDEST: (u32, u32) = (1, 88);

/// Debian's Rust packages that are new enough, and bring the library sources.
const DEBIAN_PACKAGES: [&str; 3] = ["cargo-web", "rust-web-src", "rustc-web"];

/// A silent network must not look like a hang.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// A toolchain that builds for [`TARGET`].
pub enum Toolchain {
    /// The active one, as it is.
    Active,
    /// A sysroot of ours, used through the compiler wrappers in its `bin`.
    Sysroot(PathBuf),
}

impl Toolchain {
    /// Makes a cargo command use this toolchain.
    pub fn apply(&self, command: &mut Command) {
        for (name, value) in self.variables() {
            command.env(name, value);
        }
    }

    /// Lines for a shell's `eval` after which plain cargo uses this toolchain.
    pub fn shell_exports(&self) -> String {
        let mut lines = String::new();
        for (name, value) in self.variables() {
            let quoted = value.display().to_string().replace('\'', r"'\''");
            lines.push_str(&format!("export {name}='{quoted}'\n"));
        }
        if lines.is_empty() {
            lines.push_str("# the active toolchain builds for the bare machine as it is\n");
        }
        lines
    }

    fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        match self {
            Self::Active => Vec::new(),
            Self::Sysroot(path) => vec![
                ("RUSTC", path.join("bin/rustc")),
                ("RUSTDOC", path.join("bin/rustdoc")),
                // clippy-driver reads this one.
                ("SYSROOT", path.clone()),
            ],
        }
    }
}

/// A rustc on this machine.
struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
    host: String,
    /// All that `rustc -vV` prints.
    identity: String,
    release: (u32, u32),
}

impl Compiler {
    /// Asks a rustc what it is.
    fn probe(rustc: &Path) -> Result<Self> {
        let ask = |arguments: &[&str]| -> Result<String> {
            let mut command = Command::new(rustc);
            without_rustup_leaks(&mut command, rustc);
            let output = command
                .args(arguments)
                .output()
                .with_context(|| format!("{} does not start", rustc.display()))?;
            if !output.status.success() {
                bail!(
                    "{} fails: {}",
                    rustc.display(),
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
            Ok(String::from_utf8(output.stdout)?)
        };
        let identity = ask(&["-vV"])?;
        let field = |name: &str| {
            identity
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .with_context(|| format!("{} -vV has no line '{name}'", rustc.display()))
        };
        let host = field("host:")?.to_owned();
        let release = parse_release(field("release:")?)?;
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim());
        Ok(Self { rustc: rustc.to_owned(), sysroot, host, identity, release })
    }

    fn new_enough(&self) -> bool {
        self.release >= OLDEST
    }

    fn has_core_for_target(&self) -> bool {
        sysroot::has_core(&self.sysroot)
    }

    fn library_sources(&self) -> Option<PathBuf> {
        let library = self.sysroot.join("lib/rustlib/src/rust/library");
        (self.new_enough() && library.join("core/src/lib.rs").is_file()).then_some(library)
    }
}

/// Which ways are allowed.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Any,
    Native,
    Rustup,
    Sysroot,
    Debian,
}

impl Way {
    fn from_environment() -> Result<Self> {
        let Some(value) = env::var_os("LUCOS_TOOLCHAIN") else {
            return Ok(Self::Any);
        };
        match value.to_str() {
            Some("" | "any") => Ok(Self::Any),
            Some("native") => Ok(Self::Native),
            Some("rustup") => Ok(Self::Rustup),
            Some("sysroot") => Ok(Self::Sysroot),
            Some("debian") => Ok(Self::Debian),
            _ => bail!(
                "LUCOS_TOOLCHAIN is {}; it can be any, native, rustup, sysroot, debian",
                value.display()
            ),
        }
    }

    fn allows(self, way: Self) -> bool {
        self == Self::Any || self == way
    }
}

/// Finds or makes a toolchain.
///
/// # Errors
/// When every way failed; the message names the commands a person can try.
pub fn prepare(workspace: &Workspace, consent: Consent) -> Result<Toolchain> {
    let way = Way::from_environment()?;
    let active = Compiler::probe(&active_rustc())?;

    if way.allows(Way::Native) && active.new_enough() && active.has_core_for_target() {
        return Ok(Toolchain::Active);
    }
    let cached = |compilers: &[&Compiler]| {
        compilers
            .iter()
            .find_map(|compiler| sysroot::cached(&workspace.cache, compiler))
            .map(Toolchain::Sysroot)
    };
    let debian = Compiler::probe(Path::new("/usr/bin/rustc")).ok();
    let mut sources: Vec<&Compiler> = Vec::new();
    if way.allows(Way::Sysroot) {
        sources.push(&active);
    }
    if way.allows(Way::Sysroot) || way == Way::Debian {
        sources.extend(&debian);
    }
    if let Some(toolchain) = cached(&sources) {
        return Ok(toolchain);
    }
    if way.allows(Way::Rustup) && active.new_enough() && add_rustup_target(&active)? {
        return Ok(Toolchain::Active);
    }
    if let Some(compiler) = sources.iter().find(|compiler| compiler.library_sources().is_some()) {
        return sysroot::build(&workspace.cache, compiler).map(Toolchain::Sysroot);
    }
    if way.allows(Way::Debian) {
        packages::install(&DEBIAN_PACKAGES, consent)?;
        let compiler = Compiler::probe(Path::new("/usr/bin/rustc"))?;
        return sysroot::build(&workspace.cache, &compiler).map(Toolchain::Sysroot);
    }
    bail!(
        "no toolchain for {TARGET}; try `rustup target add {TARGET}`, or on Debian `apt-get install {}`",
        DEBIAN_PACKAGES.join(" ")
    )
}

fn active_rustc() -> PathBuf {
    env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from)
}

/// Asks rustup for the target's libraries; `false` when it did not bring them.
fn add_rustup_target(active: &Compiler) -> Result<bool> {
    let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") else {
        return Ok(false);
    };
    if packages::find("rustup").is_none() {
        return Ok(false);
    }
    eprintln!("Asking rustup for the libraries of {TARGET}");
    let mut child = Command::new("rustup")
        .args(["target", "add", TARGET, "--toolchain"])
        .arg(toolchain)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("rustup does not start")?;
    let done = child.wait_timeout(RUSTUP_LIMIT)?;
    if done.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let added = done.is_some_and(|status| status.success()) && active.has_core_for_target();
    if !added {
        eprintln!("rustup could not fetch them; using library sources instead");
    }
    Ok(added)
}

/// Undoes what a rustup proxy and cargo left in our environment, for a compiler of another
/// origin.
fn without_rustup_leaks(command: &mut Command, program: &Path) {
    const LEAKS: [&str; 13] = [
        "CARGO",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_MANIFEST_DIR",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
        "SYSROOT",
    ];
    if !program.is_absolute() {
        // The active one, found through the same proxy as we were.
        return;
    }
    for name in LEAKS {
        command.env_remove(name);
    }
}

fn parse_release(text: &str) -> Result<(u32, u32)> {
    let mut parts = text.split('.');
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => bail!("cannot read the compiler's release '{text}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert_eq!(parse_release("1.96.0").ok(), Some((1, 96)));
        assert_eq!(parse_release("1.97.0-nightly").ok(), Some((1, 97)));
        assert!(parse_release("1.9.0").ok() < Some(OLDEST));
        assert!(parse_release("one").is_err());
    }

    #[test]
    fn exports_survive_a_quote_in_the_path() {
        let toolchain = Toolchain::Sysroot(PathBuf::from("/it's/here"));
        assert!(toolchain.shell_exports().contains(r"export RUSTC='/it'\''s/here/bin/rustc'"));
    }
}
