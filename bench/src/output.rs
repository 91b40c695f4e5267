//! What a guest's script printed: lines that are a name, a blank and a value.

use std::collections::BTreeMap;

use serde_json::Value;

/// The lines of a script.
#[derive(Clone, Debug, Default)]
pub struct Output(BTreeMap<String, String>);

/// A line that should be there is not, or has another value than it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest printed no {what} for {name}")]
pub struct Missing {
    /// What was looked for.
    what: &'static str,
    /// The name of the line.
    name: String,
}

impl Output {
    /// Takes the standard output of a script.
    pub fn parse(text: &str) -> Self {
        let words = text.lines().filter_map(|line| line.split_once(' '));
        Self(words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The text on a line.
    ///
    /// # Errors
    /// When there is none.
    pub fn text(&self, name: &str) -> Result<&str, Missing> {
        self.0.get(name).map(|value| value.trim()).ok_or_else(|| missing("text", name))
    }

    /// The number on a line.
    ///
    /// # Errors
    /// When there is none.
    pub fn number(&self, name: &str) -> Result<f64, Missing> {
        let number = self.0.get(name).and_then(|value| value.trim().parse::<u64>().ok());
        number.map(|number| number as f64).ok_or_else(|| missing("number", name))
    }

    /// The numbers on a line, so many.
    ///
    /// # Errors
    /// When there is no such line, or something else is on it.
    pub fn numbers<const N: usize>(&self, name: &str) -> Result<[f64; N], Missing> {
        let numbers = self.text(name)?.split_whitespace().map(str::parse::<u64>);
        let numbers: Result<Vec<_>, _> =
            numbers.map(|number| number.map(|number| number as f64)).collect();
        let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
        numbers.ok_or_else(|| missing("numbers", name))
    }

    /// The answer of the update manager on a line.
    ///
    /// # Errors
    /// When there is none, or it is an error.
    pub fn answer(&self, name: &str) -> Result<Value, Missing> {
        let value = self.0.get(name).and_then(|value| serde_json::from_str::<Value>(value).ok());
        let value = value.filter(|value| value.is_object() && value.get("error").is_none());
        value.ok_or_else(|| missing("answer", name))
    }

    /// A number in an answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn status(&self, name: &str, key: &'static str) -> Result<f64, Missing> {
        let number = self.answer(name)?.get(key).and_then(Value::as_u64);
        number.map(|number| number as f64).ok_or_else(|| missing(key, name))
    }

    /// The exits by class in an answer.
    ///
    /// # Errors
    /// When there are none.
    pub fn exits(&self, name: &str) -> Result<BTreeMap<String, f64>, Missing> {
        let answer = self.answer(name)?;
        let exits = answer.get("exits").and_then(Value::as_object);
        let exits =
            exits.filter(|exits| !exits.is_empty()).ok_or_else(|| missing("exits", name))?;
        let number = |value: &Value| value.as_u64().map(|number| number as f64);
        exits
            .iter()
            .map(|(class, value)| Some((class.clone(), number(value)?)))
            .collect::<Option<_>>()
            .ok_or_else(|| missing("exits", name))
    }
}

fn missing(what: &'static str, name: &str) -> Missing {
    Missing { what, name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::Output;

    #[test]
    fn lines_have_names() {
        let text =
            "boot 12\r\nstatus {\"stops\": 3, \"exits\": {\"CPUID\": 4}}\nbad {\"error\": {}}\n";
        let output = Output::parse(text);
        assert_eq!(output.number("boot"), Ok(12.0));
        assert!(output.number("status").is_err());
        assert_eq!(output.status("status", "stops"), Ok(3.0));
        assert!(output.status("status", "starts").is_err());
        assert_eq!(output.exits("status").map(|exits| exits["CPUID"]), Ok(4.0));
        assert!(output.answer("bad").is_err());
        assert!(output.answer("none").is_err());
    }
}
