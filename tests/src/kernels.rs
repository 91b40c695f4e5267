//! The kernels that tests run.

use std::sync::{Mutex, PoisonError};

use libtest_mimic::Failed;
use lucos_debian_archive::kernel::{self, Flavour, GuestKernel, Series};
use lucos_debian_archive::pinned::Pins;

use crate::folder;
use crate::patch::{archive, tell};

/// Those that were asked for.
static PINNED: Mutex<Vec<(Series, GuestKernel)>> = Mutex::new(Vec::new());

/// The kernel of a series that tests run; where the archive has dropped it, the one that takes its
/// place, and standard error says so once.
///
/// # Errors
/// When there is no kernel of the series.
pub fn pinned(series: Series) -> Result<GuestKernel, Failed> {
    let mut pinned = PINNED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, kernel)) = pinned.iter().find(|(of, _)| *of == series) {
        return Ok(kernel.clone());
    }
    let kernel = Pins::read(&folder("kernels.toml"))?.kernel(&archive()?, series, tell)?;
    pinned.push((series, kernel.clone()));
    Ok(kernel)
}

/// The newest kernel of a series and flavour; the reason when the archive does not give one.
///
/// # Errors
/// When no folder can hold it.
pub fn newest(
    series: Series,
    flavour: Flavour,
) -> Result<Result<GuestKernel, kernel::Error>, Failed> {
    let archive = archive()?;
    Ok(kernel::with_fresh_lists(&archive, || GuestKernel::newest(&archive, series, flavour)))
}
