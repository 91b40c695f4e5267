//! Downloads by the machine's own apt, with a bar.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Error, Package};

/// Downloads packages into a folder.
///
/// # Errors
/// When apt does not start or fails.
pub(super) fn run(packages: &[Package], folder: &Path) -> Result<(), Error> {
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let names = names.join(" ");
    let total: u64 = packages.iter().map(|package| package.size).sum();
    let bar = progress(&names, total);

    let child = Command::new("apt-get")
        .args(["download", "-qq"])
        // The folder belongs to whoever runs us; apt's own user cannot write to it.
        .args(["-o", "APT::Sandbox::User="])
        .args(packages.iter().map(|package| format!("{}={}", package.name, package.version)))
        .current_dir(folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Program { program: "apt-get", source })?;
    let waiter = thread::spawn(move || child.wait_with_output());
    while !waiter.is_finished() {
        bar.set_position(bytes_in(folder));
        thread::sleep(Duration::from_millis(50));
    }
    bar.finish_and_clear();
    let output = match waiter.join() {
        Ok(Ok(output)) => output,
        Ok(Err(source)) => {
            return Err(Error::Program { program: "apt-get", source });
        }
        Err(_) => {
            return Err(Error::Download { names, message: String::from("waiting for it failed") });
        }
    };
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Download {
        names,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// A bar for a person at a terminal, one line for everybody else.
fn progress(names: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if bar.is_hidden() {
        eprintln!("Downloading {names} ({} MB)", total.div_ceil(1_000_000));
        return bar;
    }
    if let Ok(style) = ProgressStyle::with_template(
        "Downloading {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
    ) {
        bar.set_style(style);
    }
    bar.set_message(names.to_owned());
    bar
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum()
}
