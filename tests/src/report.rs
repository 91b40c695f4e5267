//! What a test's script printed: lines that are a name, a blank and a value.

use std::fmt::Display;
use std::str::FromStr;

use libtest_mimic::Failed;
use serde_json::Value;

/// The output of a script.
#[derive(Debug)]
pub struct Report {
    text: String,
}

impl Report {
    /// Takes the output.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All values with this name, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
        })
    }

    /// The only value with this name.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn value(&self, name: &str) -> Result<&str, Failed> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(format!("no line begins with {name:?}").into()),
            (Some(_), Some(_)) => Err(format!("several lines begin with {name:?}").into()),
        }
    }

    /// The only value with this name, as a number.
    ///
    /// # Errors
    /// When there is not exactly one, or it is no number.
    pub fn number<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Failed> {
        let value = self.value(name)?;
        value.parse().map_err(|error| format!("{name} {value:?}: {error}").into())
    }

    /// Fails unless the only value with this name is `expected`.
    ///
    /// # Errors
    /// When it is another, or there is not exactly one.
    pub fn expect(&self, name: &str, expected: impl Display) -> Result<(), Failed> {
        crate::equal(name, self.value(name)?, expected.to_string().as_str())
    }

    /// The only value with this name, as JSON.
    ///
    /// # Errors
    /// When there is not exactly one, or it is no JSON.
    pub fn json(&self, name: &str) -> Result<Value, Failed> {
        let value = self.value(name)?;
        serde_json::from_str(value).map_err(|error| format!("{name} {value:?}: {error}").into())
    }
}

/// A number in JSON.
///
/// # Errors
/// When the place does not exist or holds something else. A place is named as in RFC 6901.
pub fn number_at(value: &Value, place: &str) -> Result<u64, Failed> {
    value
        .pointer(place)
        .and_then(Value::as_u64)
        .ok_or_else(|| format!("no number at {place} of {value}").into())
}
