//! What the author says of variables: which one is which, where the builder asks.

use lucos_object_diff::Decision;

use crate::error::Error;

/// What begins a line of a patch file that says that two variables are the same.
const SAME: &str = "Lucos-Same:";
/// What begins a line of a patch file that says that a variable is new.
const NEW: &str = "Lucos-New:";

/// Something that the author says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The object that it is about; `None`: every one that has the variables.
    object: Option<String>,
    decision: Decision,
    /// As the author wrote it.
    text: String,
}

impl Said {
    /// Reads `[OBJECT:]OLD=NEW`.
    ///
    /// # Errors
    /// [`Error::NotADecision`].
    pub fn same(text: &str) -> Result<Self, Error> {
        let (object, names) = split(text);
        match names.split_once('=') {
            Some((old, new)) if is_name(old) && is_name(new) => {
                let decision = Decision::Same { old: old.to_owned(), new: new.to_owned() };
                Ok(Self { object, decision, text: text.to_owned() })
            }
            _ => Err(not_said(text, "OLD=NEW, two symbols, or OBJECT:OLD=NEW")),
        }
    }

    /// Reads `[OBJECT:]NAME`.
    ///
    /// # Errors
    /// [`Error::NotADecision`].
    pub fn new(text: &str) -> Result<Self, Error> {
        let (object, name) = split(text);
        if !is_name(name) {
            return Err(not_said(text, "NAME, a symbol, or OBJECT:NAME"));
        }
        let decision = Decision::New(name.to_owned());
        Ok(Self { object, decision, text: text.to_owned() })
    }

    /// What the lines of a patch file say that are not part of the diff.
    ///
    /// # Errors
    /// [`Error::NotADecision`].
    pub fn in_patch(text: &str) -> Result<Vec<Self>, Error> {
        let mut all = Vec::new();
        for line in text.lines() {
            if let Some(said) = line.strip_prefix(SAME) {
                all.push(Self::same(said.trim())?);
            } else if let Some(said) = line.strip_prefix(NEW) {
                all.push(Self::new(said.trim())?);
            }
        }
        Ok(all)
    }

    /// What is said of an object's variables, with the number of each.
    pub(crate) fn about<'s>(
        all: &'s [Self],
        object: &'s str,
    ) -> impl Iterator<Item = (usize, &'s Decision)> {
        let is_about =
            move |said: &Self| said.object.as_deref().is_none_or(|about| about == object);
        let about = all.iter().enumerate().filter(move |(_, said)| is_about(said));
        about.map(|(number, said)| (number, &said.decision))
    }

    /// The author's words.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

fn split(text: &str) -> (Option<String>, &str) {
    match text.split_once(':') {
        Some((object, names)) => (Some(object.to_owned()), names),
        None => (None, text),
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
    !text.is_empty() && text.chars().all(is_part)
}

fn not_said(text: &str, wanted: &'static str) -> Error {
    Error::NotADecision { text: text.to_owned(), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_lines_of_a_patch_say_the_same() {
        let patch = "From: x\n\nLucos-Same: fs/inode.o:counter.0=counter.1\nLucos-New: told.3\n\
                     ---\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+Lucos-New: b\n";
        let said = Said::in_patch(patch).unwrap();
        let options =
            [Said::same("fs/inode.o:counter.0=counter.1").unwrap(), Said::new("told.3").unwrap()];
        assert_eq!(said, options);
        let about = |object| -> Vec<usize> {
            Said::about(&said, object).map(|(number, _)| number).collect()
        };
        assert_eq!((about("fs/inode.o"), about("fs/dcache.o")), (vec![0, 1], vec![1]));
    }

    #[test]
    fn what_says_nothing_is_an_error() {
        for text in ["", "a", "a=", "=b", "a=b=c", "x.o:", "a = b"] {
            assert!(matches!(Said::same(text), Err(Error::NotADecision { .. })), "{text:?}");
        }
        for text in ["", "a=b", "x.o:", "a b"] {
            assert!(matches!(Said::new(text), Err(Error::NotADecision { .. })), "{text:?}");
        }
        assert!(Said::in_patch("Lucos-Same: a\n").is_err());
    }
}
