//! The update manager, by way of `/dev/lucos`: a command line in, records out.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};

use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::name::NAME_SIZE;
use lucos_guest_interface::reply::{MeasuredStops, Verdict};

use crate::answer::{self, Log, Patch, Shown, Status, Value};
use crate::error::{Error, Refusal};
use crate::{render, system};

/// The device.
pub const PATH: &str = "/dev/lucos";

/// The state of LUCOS.
///
/// # Errors
/// [`Error::Refused`] when the manager or LUCOS refuses; [`Error::NotRoot`],
/// [`Error::NotUnderneath`], [`Error::ManagerNotLoaded`] or [`Error::Device`] when there is nobody
/// to ask; [`Error::Reply`] when the reply is not understood.
pub fn status() -> Result<Status, Error> {
    answer::status(&ask("status")?)
}

/// The patches that are loaded, in the order of loading.
///
/// # Errors
/// Those of [`status`].
pub fn list() -> Result<Vec<Patch>, Error> {
    answer::list(&ask("list")?)
}

/// One patch with its functions.
///
/// # Errors
/// Those of [`status`], and a refusal when the name could not be a name.
pub fn show(patch: &str) -> Result<Shown, Error> {
    answer::show(&ask_about("show", patch)?)
}

/// The log of LUCOS.
///
/// # Errors
/// Those of [`status`].
pub fn log() -> Result<Log, Error> {
    answer::log(&ask("log")?)
}

/// Puts patches in force whose modules are loaded, in one step, on probation for so many seconds.
///
/// # Errors
/// Those of [`show`].
pub fn apply(patches: &[&str], probation: Option<u32>) -> Result<(), Error> {
    patches.iter().try_for_each(|patch| check_name(patch))?;
    let command = match probation {
        None => "apply".to_owned(),
        Some(seconds) => format!("apply-on-probation {seconds}"),
    };
    answer::done(&ask(&format!("{command} {}", patches.join(" ")))?)
}

/// Runs every check of [`apply`].
///
/// # Errors
/// Those of [`show`].
pub fn check(patch: &str) -> Result<(), Error> {
    answer::done(&ask_about("check", patch)?)
}

/// Takes a patch back, together with those that stand on it or need it if that is wanted. Gives the
/// values that stay because somebody else has changed them.
///
/// # Errors
/// Those of [`show`].
pub fn rollback(patch: &str, with_dependents: bool) -> Result<Vec<Value>, Error> {
    let command = if with_dependents { "rollback-with-dependents" } else { "rollback" };
    answer::values(&ask_about(command, patch)?)
}

/// How the last load of a patch module ended. It is told once.
///
/// # Errors
/// Those of [`show`], and the refusal when the module was refused.
pub fn outcome(module: &str) -> Result<Verdict, Error> {
    answer::outcome(&ask_about("outcome", module)?)
}

/// Stops all processors so many times.
///
/// # Errors
/// Those of [`status`].
pub fn measure_stop(count: u64) -> Result<MeasuredStops, Error> {
    answer::stops(&ask(&format!("measure-stop {count}"))?)
}

/// Sends one command and gives the reply.
fn ask(command: &str) -> Result<Vec<u8>, Error> {
    let mut device =
        OpenOptions::new().read(true).write(true).open(PATH).map_err(|error| absent(&error))?;
    device.write_all(command.as_bytes()).map_err(Error::Device)?;
    let mut reply = Vec::new();
    device.read_to_end(&mut reply).map_err(Error::Device)?;
    Ok(reply)
}

/// Like [`ask`], for a command about one patch or module.
fn ask_about(command: &str, name: &str) -> Result<Vec<u8>, Error> {
    check_name(name)?;
    ask(&format!("{command} {name}"))
}

/// Whether the manager can have a patch or module of this name.
fn check_name(name: &str) -> Result<(), Error> {
    // Names end with a zero byte in their fields.
    if (1..NAME_SIZE).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::Refused(Refusal {
        code: ErrorCode::UnknownPatch,
        subject: name.escape_default().to_string(),
        detail: String::new(),
    }))
}

/// Replaces the number of the patch that is in the way by its name, and says who is in its way.
#[must_use]
pub fn name_what_is_in_the_way(error: Error) -> Error {
    const WITH_A_NUMBER: [ErrorCode; 4] = [
        ErrorCode::Stacked,
        ErrorCode::DependencyInUse,
        ErrorCode::SiteOwned,
        ErrorCode::NotSettled,
    ];
    let Error::Refused(mut refusal) = error else {
        return error;
    };
    if WITH_A_NUMBER.contains(&refusal.code)
        && let Ok(patches) = list()
        && let Some(patch) = numbered(&patches, &refusal.detail)
    {
        refusal.detail = in_the_way(patch, refusal.code);
    }
    Error::Refused(refusal)
}

fn numbered<'a>(patches: &'a [Patch], number: &str) -> Option<&'a Patch> {
    let number = u32::from_str_radix(number.strip_prefix("0x")?, 16).ok()?;
    patches.iter().find(|patch| patch.number == number)
}

/// The name of a patch, and who keeps it from settling when that is what is wrong.
fn in_the_way(patch: &Patch, code: ErrorCode) -> String {
    match &patch.inside {
        Some(inside) if code == ErrorCode::NotSettled => {
            format!("{}: inside is {}", patch.name, render::who(inside))
        }
        _ => patch.name.clone(),
    }
}

fn absent(error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::PermissionDenied => Error::NotRoot,
        ErrorKind::NotFound | ErrorKind::NotADirectory => match system::lucos_is_underneath() {
            Some(false) => Error::NotUnderneath,
            // Where that is not known, loading the manager tells.
            Some(true) | None => Error::ManagerNotLoaded,
        },
        kind => Error::Device(std::io::Error::from(kind)),
    }
}

#[cfg(test)]
mod tests {
    use lucos_guest_interface::ErrorCode;

    use super::{in_the_way, numbered, show};
    use crate::answer::Inside;
    use crate::answer::tests::patch;

    #[test]
    fn a_number_becomes_a_name() {
        let patches = [patch("fix", 10)];
        assert_eq!(numbered(&patches, "0xa"), Some(&patches[0]));
        for number in ["0xb", "10", "", "0xfffffffff"] {
            assert_eq!(numbered(&patches, number), None, "{number}");
        }
    }

    #[test]
    fn who_keeps_a_patch_from_settling_is_named() {
        let mut settling = patch("fix", 10);
        let place = "f+0x3/0x40".to_owned();
        settling.inside = Some(Inside { thread: 71, name: "cat".to_owned(), place, seconds: 3 });
        let expected = "fix: inside is cat (71) at f+0x3/0x40, for 3 s";
        assert_eq!(in_the_way(&settling, ErrorCode::NotSettled), expected);
        assert_eq!(in_the_way(&settling, ErrorCode::Stacked), "fix");
        settling.inside = None;
        assert_eq!(in_the_way(&settling, ErrorCode::NotSettled), "fix");
    }

    #[test]
    fn what_is_no_name_never_reaches_the_manager() {
        for name in ["", "two words", "line\nfeed", &"x".repeat(64)] {
            assert_eq!(show(name).unwrap_err().code(), "UNKNOWN_PATCH");
        }
    }
}
