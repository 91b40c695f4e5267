//! `cargo xtask size`: how much there is to review.

mod lines;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cargo_metadata::{MetadataCommand, Package};
use clap::Args;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, elf};

use crate::images::{self, Mode};
use crate::toolchain::TARGET;
use crate::workspace::Workspace;
use lucos_debian_archive::packages::Consent;

/// What runs in ring 0, and how much of it there may be.
const PARTS: [Part; 2] = [
    Part { root: "lucos-kernel", name: "resident ring 0", limit: 6000 },
    Part { root: "lucos-boot", name: "boot time", limit: 1500 },
];

/// An ELF file that runs in ring 0. What several of them link belongs to the first.
struct Part {
    /// The package that it is made of.
    root: &'static str,
    name: &'static str,
    /// Most lines of ours.
    limit: usize,
}

/// Options of `size`.
#[derive(Args)]
pub struct SizeArgs {
    /// Count lines only, build nothing.
    #[arg(long)]
    lines: bool,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
}

/// The verb `size`. Code lines hold something else than comments; tests do not count.
///
/// # Errors
/// When a source cannot be read or the images do not build. Too many lines are an exit code.
pub fn run(workspace: &Workspace, args: &SizeArgs) -> Result<ExitCode> {
    let all = MetadataCommand::new()
        .manifest_path(workspace.root.join("Cargo.toml"))
        .exec()
        .context("cargo does not describe the workspace")?;
    let folder = |package: &Package| -> PathBuf {
        let manifest = package.manifest_path.as_std_path();
        manifest.parent().unwrap_or(manifest).to_owned()
    };
    // Of each package that runs in ring 0, the part to which it belongs.
    let mut linked = BTreeMap::new();
    for (index, part) in PARTS.iter().enumerate() {
        for key in dependencies(workspace, part.root)? {
            linked.entry(key).or_insert(index);
        }
    }

    let (mut ours, mut others) = ([0; PARTS.len()], [0; PARTS.len()]);
    let mut lines = Vec::new();
    for package in &all.packages {
        let key = (package.name.to_string(), package.version.to_string());
        let part = linked.get(&key).copied();
        let is_ours = package.source.is_none();
        if !is_ours && part.is_none() {
            continue;
        }
        let count = lines::of_package(&folder(package))?;
        if let Some(part) = part {
            let sums = if is_ours { &mut ours } else { &mut others };
            sums[part] += count;
        }
        if is_ours {
            let mark = part.map_or(String::new(), |part| format!("  ({})", PARTS[part].name));
            lines.push((package.name.to_string(), format!("{count:7}  {}{mark}", package.name)));
        }
    }
    lines.sort();
    println!("{:>7}  part", "lines");
    for (_, line) in &lines {
        println!("{line}");
    }
    for part in ["manager", "include", "patches"] {
        let count = lines::of_c(&workspace.root.join("guest").join(part))?;
        println!("{count:7}  guest/{part} (C)");
    }
    let mut code = ExitCode::SUCCESS;
    for ((Part { name, limit, .. }, ours), others) in PARTS.iter().zip(ours).zip(others) {
        println!();
        println!("{ours:7}  {name}: ours, of at most {limit}");
        println!("{others:7}  {name}: third-party sources of crates linked into it, used or not");
        if ours > *limit {
            eprintln!("error: {ours} lines of {name}, {limit} are allowed");
            code = ExitCode::FAILURE;
        }
    }
    if !args.lines {
        print_images(workspace, Consent::new(args.yes))?;
    }
    Ok(code)
}

type Key = (String, String);

/// What is linked into a released image: its package and everything below it that is no macro and no
/// build script.
fn dependencies(workspace: &Workspace, package: &str) -> Result<Vec<Key>> {
    let output = workspace
        .cargo()
        .args(["tree", "--quiet", "--package", package, "--target", TARGET])
        .args(["--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--format", "{p}"])
        .output()
        .context("cargo does not start")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    // name vVERSION (where from) (*)
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            let version = words.next()?.strip_prefix('v')?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect())
}

fn print_images(workspace: &Workspace, consent: Consent) -> Result<()> {
    let images = images::build(workspace, &Mode { debug: false, task_feature: None }, consent)?;
    println!();
    println!("{:>7}  {:>7}  image", "bytes", "file");
    for path in images.paths() {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        println!("{:7}  {:7}  {name}", loaded(&bytes)?, bytes.len());
    }
    let bundle = images.bundle(None)?;
    println!("{:>7}  {:7}  bundle without a guest", "", bundle.len());
    Ok(())
}

/// Bytes that are loaded from a file.
pub fn loaded(bytes: &[u8]) -> Result<u64> {
    let file = ElfFile64::<Endianness>::parse(bytes)?;
    let endian = file.endian();
    let headers = file.elf_header().program_headers(endian, bytes)?;
    Ok(headers
        .iter()
        .filter(|header| header.p_type(endian) == elf::PT_LOAD)
        .map(|header| header.p_filesz(endian))
        .sum())
}

/// The files with an extension in a folder and those below it, in no order. A folder that is not
/// there has none.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extensions)?);
        } else if path
            .extension()
            .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
        {
            found.push(path);
        }
    }
    Ok(found)
}
