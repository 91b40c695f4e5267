//! A sysroot of our own: the host's libraries beside `core`, `alloc` and `compiler_builtins` for
//! the bare machine, built once per compiler from its library sources.
//!
//! The build needs no network: the dependencies of the standard library are vendored with its
//! sources. After it plain cargo works with two wrappers, `bin/rustc` and `bin/rustdoc`, which
//! only add `--sysroot` and, for the bare machine, a linker.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{Compiler, TARGET, without_rustup_leaks};
use lucos_debian_archive::packages;

/// Raised when the way these sysroots are built changes, so that none built before is used.
const RECIPE: &str = "2";

/// Whether a sysroot has the core library of the bare machine.
pub fn has_core(sysroot: &Path) -> bool {
    let Ok(entries) = fs::read_dir(library_folder(sysroot)) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}

/// The sysroot built earlier for this very compiler.
pub fn cached(cache: &Path, compiler: &Compiler) -> Option<PathBuf> {
    let sysroot = place(cache, compiler);
    let usable = compiler.new_enough() && has_core(&sysroot);
    if !usable || write_wrappers(&sysroot, compiler).is_err() {
        return None;
    }
    Some(sysroot)
}

/// Builds the sysroot of a compiler that has its library sources.
///
/// # Errors
/// When the sources are missing or do not compile, or the cache cannot be written.
pub fn build(cache: &Path, compiler: &Compiler) -> Result<PathBuf> {
    let Some(library) = compiler.library_sources() else {
        bail!("{} is too old or has no library sources", compiler.rustc.display());
    };
    let sysroot = place(cache, compiler);
    eprintln!(
        "Building the core libraries of {TARGET} with rustc {}.{} (once, about half a minute)",
        compiler.release.0, compiler.release.1
    );
    let parent = cache.join("sysroots");
    fs::create_dir_all(&parent)
        .with_context(|| format!("cannot make the folder {}", parent.display()))?;
    // Two runs at the same time each build their own; the first to finish wins.
    let work = tempfile::Builder::new().prefix("build-").tempdir_in(&parent)?;
    let package = work.path().join("package");
    compile(&package, &library, compiler)?;

    let fresh = work.path().join("sysroot");
    collect(&package.join("target").join(TARGET).join("release/deps"), &fresh)?;
    link_host(&fresh, compiler)?;
    if has_core(&sysroot) {
        return finish(sysroot, compiler);
    }
    if sysroot.exists() {
        fs::remove_dir_all(&sysroot)?;
    }
    if let Err(error) = fs::rename(&fresh, &sysroot)
        && !has_core(&sysroot)
    {
        return Err(error).with_context(|| format!("cannot put {} in place", sysroot.display()));
    }
    finish(sysroot, compiler)
}

fn finish(sysroot: PathBuf, compiler: &Compiler) -> Result<PathBuf> {
    write_wrappers(&sysroot, compiler)?;
    Ok(sysroot)
}

/// One folder per compiler: its whole description and its place decide.
fn place(cache: &Path, compiler: &Compiler) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(RECIPE);
    hash.update(&compiler.identity);
    hash.update(compiler.sysroot.as_os_str().as_encoded_bytes());
    let digest = hash.finalize();
    let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let (major, minor) = compiler.release;
    cache.join(format!("sysroots/{major}.{minor}-{short}"))
}

fn library_folder(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib").join(TARGET).join("lib")
}

/// Compiles an empty crate whose only purpose is that cargo builds the libraries below it.
fn compile(package: &Path, library: &Path, compiler: &Compiler) -> Result<()> {
    fs::create_dir_all(package.join("src"))?;
    fs::write(package.join("src/lib.rs"), "#![no_std]\n")?;
    fs::write(
        package.join("Cargo.toml"),
        "[package]\nname = \"sysroot\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n\
         [workspace]\n\n[profile.release]\npanic = \"abort\"\ndebug = false\n",
    )?;
    let home = package.join("home");
    fs::create_dir_all(&home)?;

    let (rustc, cargo) = programs(compiler);
    let mut command = Command::new(&cargo);
    without_rustup_leaks(&mut command, &cargo);
    command
        .current_dir(package)
        .env("CARGO_HOME", &home)
        .env("RUSTC", &rustc)
        // build-std is not stable; only these libraries are built with it.
        .env("RUSTC_BOOTSTRAP", "1")
        // The images are linked with LTO, which reads bitcode from these libraries too.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .args(["build", "--release", "--target", TARGET])
        .arg("-Zbuild-std=core,alloc,compiler_builtins");
    let vendor = library.join("vendor");
    if vendor.is_dir() {
        command
            .arg("--offline")
            .args(["--config", "source.crates-io.replace-with=\"std-vendor\""])
            .arg("--config")
            .arg(format!("source.std-vendor.directory={:?}", vendor.display().to_string()));
    }
    let output = command.output().with_context(|| format!("{} does not start", cargo.display()))?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "the core libraries do not build:\n{}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    )
}

/// The compiler itself, never a rustup proxy, and the cargo that came with it.
fn programs(compiler: &Compiler) -> (PathBuf, PathBuf) {
    let bin = compiler.sysroot.join("bin");
    let beside = |name: &str| Some(bin.join(name)).filter(|path| packages::is_program(path));
    let rustc = beside("rustc").unwrap_or_else(|| compiler.rustc.clone());
    let cargo = beside("cargo").unwrap_or_else(|| crate::workspace::cargo_program().into());
    (rustc, cargo)
}

fn collect(built: &Path, sysroot: &Path) -> Result<()> {
    let destination = library_folder(sysroot);
    fs::create_dir_all(&destination)?;
    for entry in
        fs::read_dir(built).with_context(|| format!("no libraries in {}", built.display()))?
    {
        let path = entry?.path();
        let library =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"lib"));
        let ours = path
            .file_stem()
            .is_some_and(|stem| stem.as_encoded_bytes().starts_with(b"libsysroot-"));
        if library && !ours && path.extension() == Some(OsStr::new("rlib")) {
            let name = path.file_name().context("a library without a name")?;
            fs::copy(&path, destination.join(name))?;
        }
    }
    if !has_core(sysroot) {
        bail!("the build left no core library in {}", built.display());
    }
    Ok(())
}

/// Build scripts and procedural macros need the host's libraries under the same sysroot.
fn link_host(sysroot: &Path, compiler: &Compiler) -> Result<()> {
    let theirs = compiler.sysroot.join("lib/rustlib").join(&compiler.host);
    let ours = sysroot.join("lib/rustlib").join(&compiler.host);
    fs::create_dir_all(&ours)?;
    for name in ["lib", "bin"] {
        let from = theirs.join(name);
        if from.is_dir() {
            symlink(from, ours.join(name))?;
        }
    }
    Ok(())
}

/// Writes the wrappers, and leaves them alone when they are right: cargo builds everything again
/// when its compiler's file is new.
fn write_wrappers(sysroot: &Path, compiler: &Compiler) -> Result<()> {
    let (rustc, _) = programs(compiler);
    let rustdoc = rustc.with_file_name("rustdoc");
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let root = quoted(sysroot);
    let linker = linker_arguments(sysroot, compiler)?;
    let plain = format!("exec {} --sysroot {root}", quoted(&rustc));
    let rustc_script = format!(
        "#!/bin/sh\ncase \" $* \" in\n*\" --target {TARGET} \"*) {plain}{linker} \"$@\" ;;\n*) {plain} \"$@\" ;;\nesac\n"
    );
    let rustdoc_script = format!("#!/bin/sh\nexec {} --sysroot {root} \"$@\"\n", quoted(&rustdoc));
    let bin = sysroot.join("bin");
    fs::create_dir_all(&bin)?;
    write_program(&bin.join("rustc"), &rustc_script)?;
    write_program(&bin.join("rustdoc"), &rustdoc_script)
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) && packages::is_program(path) {
        return Ok(());
    }
    let folder = path.parent().context("a program without a folder")?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o755))?;
    file.persist(path)?;
    Ok(())
}

/// The linker for the bare machine: the toolchain's own LLD, one of rustup's, the system's LLD,
/// or GNU ld, which is wherever a C compiler is.
fn linker_arguments(sysroot: &Path, compiler: &Compiler) -> Result<String> {
    let own = sysroot.join("lib/rustlib").join(&compiler.host).join("bin/rust-lld");
    if packages::is_program(&own) {
        return Ok(String::new());
    }
    let rustup = rustup_linker(&compiler.host);
    let system = packages::find("ld.lld");
    if let Some(lld) = rustup.or(system) {
        return Ok(format!(" -Clinker='{}' -Clinker-flavor=ld.lld", lld.display()));
    }
    match packages::find("ld") {
        Some(ld) => Ok(format!(" -Clinker='{}' -Clinker-flavor=ld", ld.display())),
        None => bail!("no linker on this machine; on Debian `apt-get install binutils`"),
    }
}

fn rustup_linker(host: &str) -> Option<PathBuf> {
    // Set by the rustup proxy that started the cargo that started us.
    let home = std::env::var_os("RUSTUP_HOME")?;
    let toolchain = std::env::var_os("RUSTUP_TOOLCHAIN")?;
    let linker = PathBuf::from(home)
        .join("toolchains")
        .join(toolchain)
        .join("lib/rustlib")
        .join(host)
        .join("bin/rust-lld");
    packages::is_program(&linker).then_some(linker)
}
