//! The update manager, by way of `/dev/lucos`: a command line in, JSON out.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};

use lucos_guest_interface::name::NAME_SIZE;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Refusal};
use crate::system;

/// The device.
pub const PATH: &str = "/dev/lucos";

/// The state of a patch that is rolled back and whose module stays loaded, because the kernel may
/// still use what it was given.
pub const KEPT: &str = "kept";

/// A patch in the manager's list.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct ListedPatch {
    /// Name of the patch.
    pub name: String,
    /// Name of its module.
    pub module: String,
    /// `applied`, `draining`, `unused` or [`KEPT`].
    pub state: String,
    /// What LUCOS calls it; 0 when it was never in force.
    pub number: u32,
}

#[derive(Deserialize)]
struct List {
    patches: Vec<ListedPatch>,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    detail: String,
}

/// Sends one command and gives the reply.
///
/// # Errors
/// [`Error::Refused`] when the manager or LUCOS refuses; [`Error::NotRoot`],
/// [`Error::NotUnderneath`], [`Error::ManagerNotLoaded`] or [`Error::Device`] when there is nobody
/// to ask; [`Error::Reply`] when the reply is not understood.
pub fn ask(command: &str) -> Result<Value, Error> {
    let mut device =
        OpenOptions::new().read(true).write(true).open(PATH).map_err(|error| absent(&error))?;
    device.write_all(command.as_bytes()).map_err(Error::Device)?;
    let mut reply = String::new();
    device.read_to_string(&mut reply).map_err(Error::Device)?;
    parse_reply(&reply)
}

/// Like [`ask`], for a command about one patch or module.
///
/// # Errors
/// Those of [`ask`], and a refusal when the name could not be a name.
pub fn ask_about(command: &str, name: &str) -> Result<Value, Error> {
    // Names end with a zero byte in their fields.
    let is_name =
        (1..NAME_SIZE).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_name {
        return Err(Error::Refused(Refusal {
            code: "UNKNOWN_PATCH".to_owned(),
            message: "there is no such patch".to_owned(),
            subject: name.escape_default().to_string(),
            detail: String::new(),
        }));
    }
    ask(&format!("{command} {name}"))
}

/// The patches that are loaded.
///
/// # Errors
/// Those of [`ask`].
pub fn list() -> Result<Vec<ListedPatch>, Error> {
    parse_list(ask("list")?)
}

fn parse_list(reply: Value) -> Result<Vec<ListedPatch>, Error> {
    let list: List = serde_json::from_value(reply).map_err(|e| Error::Reply(e.to_string()))?;
    Ok(list.patches)
}

/// Replaces the number of the patch that is in the way by its name.
#[must_use]
pub fn name_what_is_in_the_way(error: Error) -> Error {
    const WITH_A_NUMBER: [&str; 3] = ["STACKED", "DEPENDENCY_IN_USE", "SITE_OWNED"];
    let Error::Refused(mut refusal) = error else {
        return error;
    };
    if WITH_A_NUMBER.contains(&refusal.code.as_str())
        && let Some(name) = list().ok().and_then(|patches| name_of(&patches, &refusal.detail))
    {
        refusal.detail = name;
    }
    Error::Refused(refusal)
}

fn name_of(patches: &[ListedPatch], number: &str) -> Option<String> {
    let number = u32::from_str_radix(number.strip_prefix("0x")?, 16).ok()?;
    let patch = patches.iter().find(|patch| patch.number == number)?;
    Some(patch.name.clone())
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

fn parse_reply(text: &str) -> Result<Value, Error> {
    let reply: Value = serde_json::from_str(text).map_err(|e| Error::Reply(e.to_string()))?;
    let Some(failure) = reply.get("error") else {
        return Ok(reply);
    };
    let failure = Failure::deserialize(failure).map_err(|e| Error::Reply(e.to_string()))?;
    Err(Error::Refused(Refusal {
        code: failure.code,
        message: failure.message,
        subject: failure.subject,
        detail: failure.detail,
    }))
}

#[cfg(test)]
mod tests {
    use super::{ListedPatch, ask_about, name_of, parse_list, parse_reply};
    use crate::error::Error;

    #[test]
    fn a_refusal_is_one_line() {
        let reply = r#"{"error": {"code": "STACKED", "number": 108, "message": "a later patch stands on this one", "subject": "fix", "detail": "0x7"}}"#;
        let error = parse_reply(reply).unwrap_err();
        assert_eq!(error.code(), "STACKED");
        assert_eq!(error.to_string(), "fix: a later patch stands on this one (0x7)");
    }

    #[test]
    fn a_list_is_understood() {
        let reply = r#"{"patches": [{"name": "fix", "description": "", "module": "fix_ko", "state": "applied", "number": 3}]}"#;
        let patch = ListedPatch {
            name: "fix".to_owned(),
            module: "fix_ko".to_owned(),
            state: "applied".to_owned(),
            number: 3,
        };
        assert_eq!(parse_list(parse_reply(reply).unwrap()).unwrap(), [patch]);
    }

    #[test]
    fn a_number_becomes_a_name() {
        let reply = r#"{"patches": [{"name": "fix", "module": "fix_ko", "state": "applied", "number": 10}]}"#;
        let patches = parse_list(parse_reply(reply).unwrap()).unwrap();
        assert_eq!(name_of(&patches, "0xa").as_deref(), Some("fix"));
        for number in ["0xb", "10", "", "0xfffffffff"] {
            assert_eq!(name_of(&patches, number), None, "{number}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for reply in ["", "no", r#"{"error": 3}"#] {
            assert!(matches!(parse_reply(reply), Err(Error::Reply(_))), "{reply}");
        }
        assert!(matches!(parse_list(parse_reply("{}").unwrap()), Err(Error::Reply(_))));
    }

    #[test]
    fn what_is_no_name_never_reaches_the_manager() {
        for name in ["", "two words", "line\nfeed", &"x".repeat(64)] {
            assert_eq!(ask_about("show", name).unwrap_err().code(), "UNKNOWN_PATCH");
        }
    }
}
