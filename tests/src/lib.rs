//! Starts machines for tests: `cargo xtask run` as a person would, and systems that only test
//! themselves.

#![forbid(unsafe_code)]

mod bench;
pub mod fixes;
mod gdb;
mod guest_program;
mod iso;
pub mod kernels;
mod made_up_map;
mod monitor;
mod own_monitor;
pub mod patch;
mod report;
pub mod restarts;
mod run;
mod script;
mod shared_boot;
mod suite;
mod task_image;

pub use bench::{bench, bench_updates};
pub use gdb::Gdb;
pub use guest_program::guest_program;
pub use iso::boot_iso;
pub use lucos_patch_builder::kernel_log::COMPLAINTS;
pub use made_up_map::MadeUpRange;
pub use monitor::{Mapping, Monitor, Processor};
pub use own_monitor::MONITOR;
pub use report::{Report, number_at};
pub use run::{BOCHS, Finished, Run};
pub use script::{Results, Script, Step};
pub use shared_boot::SharedBoot;
pub use suite::{
    bochs_refusal, bochs_self_test, self_test, self_test_with_map, stub_with_map, watched_fault,
    watched_self_test,
};
pub use task_image::task_functions;

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// A file or folder of `tests`, in the source tree whose tests these are: a copied tree may have a
/// copy of a program that was compiled elsewhere.
pub fn folder(name: &str) -> PathBuf {
    let tests = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| "tests".into());
    PathBuf::from(tests).join(name)
}

/// The project's commands: the very program that started the tests, or cargo.
fn xtask() -> Command {
    if let Some(program) = env::var_os("LUCOS_XTASK") {
        return Command::new(program);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "xtask", "--"]);
    command
}

/// Fails a test unless two values are the same.
///
/// # Errors
/// When they differ; the message names both.
pub fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), libtest_mimic::Failed> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?} instead of {expected:?}").into())
}
