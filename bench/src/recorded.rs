//! Figures that were recorded, by kernel and QEMU.

use serde::{Deserialize, Serialize};

use crate::figures::Figures;

/// What figures depend on beside LUCOS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pair {
    /// The guest's kernel, as `uname -r` says.
    pub kernel: String,
    /// QEMU's version.
    pub qemu: String,
    /// Processors of the machine.
    pub cpus: u32,
}

/// The file of recorded figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    #[serde(default, rename = "machine")]
    machines: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    pair: Pair,
    figures: Figures,
}

impl Recorded {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When it is not such a file.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The file's text.
    ///
    /// # Errors
    /// Never for figures that are numbers.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The figures for a pair.
    pub fn find(&self, pair: &Pair) -> Option<&Figures> {
        self.machines.iter().find(|entry| entry.pair == *pair).map(|entry| &entry.figures)
    }

    /// Sets the figures for a pair, with four digits behind the point.
    pub fn set(&mut self, pair: &Pair, figures: &Figures) {
        let short = |value: f64| (value * 1e4).round() / 1e4;
        let figures = figures.iter().map(|(name, value)| (name.clone(), short(*value))).collect();
        self.machines.retain(|entry| entry.pair != *pair);
        self.machines.push(Entry { pair: pair.clone(), figures });
        self.machines.sort_by(|a, b| a.pair.cmp(&b.pair));
    }
}

#[cfg(test)]
mod tests {
    use super::{Pair, Recorded};

    #[test]
    fn what_is_set_is_found_again() {
        let pair = |cpus| Pair { kernel: "6.1.0".into(), qemu: "7.2".into(), cpus };
        let figures = [("ratio.fork".to_owned(), 1.000_049)].into();
        let mut recorded = Recorded::default();
        recorded.set(&pair(2), &figures);
        recorded.set(&pair(1), &figures);
        recorded.set(&pair(1), &figures);
        let read = Recorded::parse(&recorded.text().unwrap()).unwrap();
        assert_eq!(read, recorded);
        assert_eq!(read.find(&pair(1)).unwrap()["ratio.fork"], 1.0);
        assert!(read.find(&pair(3)).is_none());
        assert!(Recorded::parse("x = 1").is_err());
    }
}
