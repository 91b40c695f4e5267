//! What is kept, and what of it the author declares harmless.

use serde::Serialize;

use super::things::Kind;

/// Something of a patch that the kernel may go on using.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its name; a text in quotation marks.
    pub what: String,
    /// What sort of thing it is.
    pub kind: Kind,
    /// How the kernel comes to know it.
    pub how: Vec<String>,
    /// The author says that this does no harm.
    pub harmless: bool,
}

/// Nothing of this name is kept.
#[derive(Debug, thiserror::Error)]
#[error("--harmless {name}: the kernel keeps nothing of that name; it may keep {}", list(known))]
pub struct NotKept {
    /// The name.
    pub name: String,
    /// What is kept.
    pub known: Vec<String>,
}

fn list(names: &[String]) -> String {
    if names.is_empty() { String::from("nothing") } else { names.join(", ") }
}

/// What the author says that the kernel keeps without harm.
const ALL: &str = "all";

/// Marks what the author declares harmless.
///
/// # Errors
/// [`NotKept`] for a name that is none of what is kept.
pub(crate) fn declared(mut kept: Vec<Kept>, harmless: &[String]) -> Result<Vec<Kept>, NotKept> {
    let is_meant = |kept: &Kept, name: &str| {
        name == ALL || kept.what == name || kept.what.trim_matches('"') == name
    };
    for name in harmless {
        if name != ALL && !kept.iter().any(|one| is_meant(one, name)) {
            let known = kept.into_iter().map(|one| one.what).collect();
            return Err(NotKept { name: name.clone(), known });
        }
    }
    for one in &mut kept {
        one.harmless = harmless.iter().any(|name| is_meant(one, name));
    }
    Ok(kept)
}
