//! Versions of Debian's kernels: series, flavour, and how they are written.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// How the names of packages with a kernel begin.
pub(crate) const IMAGE: &str = "linux-image-";

/// What a kernel of Debian's is configured for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// Virtual machines of clouds: few drivers. What a version without a flavour means.
    #[default]
    Cloud,
    /// Any machine; what an installed Debian has.
    Generic,
}

impl Flavour {
    const ALL: [Self; 2] = [Self::Cloud, Self::Generic];

    /// What follows the version in the name of a package, and in what `uname -r` prints.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Cloud => "-cloud-amd64",
            Self::Generic => "-amd64",
        }
    }
}

impl FromStr for Flavour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cloud" => Ok(Self::Cloud),
            "generic" => Ok(Self::Generic),
            _ => Err(format!("no flavour is called {text}; there are cloud and generic")),
        }
    }
}

/// A series of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// The kernel of Debian 12.
    Debian6_1,
    /// The long-term kernel after it, which Debian 12 offers too.
    Debian6_12,
}

impl Series {
    /// The series of a version such as `6.1.0-47` or `6.12.117+deb12`.
    pub fn of(version: &Version) -> Option<Self> {
        match version.numbers.get(..2)? {
            [6, 1] => Some(Self::Debian6_1),
            [6, 12] => Some(Self::Debian6_12),
            _ => None,
        }
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "debian-6.1" => Ok(Self::Debian6_1),
            "debian-6.12" => Ok(Self::Debian6_12),
            _ => Err(format!("no guest is called {text}; there are debian-6.1 and debian-6.12")),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian6_1 => "debian-6.1",
            Self::Debian6_12 => "debian-6.12",
        })
    }
}

/// A kernel version as Debian's package names write it: `6.1.0-47-amd64`, `6.12.117+deb12-cloud-amd64`;
/// [`Flavour::Cloud`] may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    text: String,
    numbers: Vec<u32>,
    flavour: Flavour,
}

impl Version {
    /// What `uname -r` prints on this kernel.
    pub fn release(&self) -> String {
        format!("{}{}", self.text, self.flavour.suffix())
    }

    /// What it is configured for.
    pub const fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Which of two versions of a series is older: the lesser one.
    pub fn age(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers)
    }

    /// The package with this kernel.
    pub fn image_package(&self) -> String {
        format!("{IMAGE}{}", self.release())
    }

    /// The version of a kernel, from its package's name.
    pub fn of_image(package: &str) -> Option<Self> {
        let release = package.strip_prefix(IMAGE)?;
        let version: Self = release.parse().ok()?;
        (version.release() == release).then_some(version)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let (text, flavour) = split_flavour(given);
        let wrong = || format!("{given} is no kernel version such as 6.1.0-47 or 6.12.117+deb12");
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".+-~".contains(c);
        // Meta packages (6.12-cloud-amd64) have two numbers only.
        let numbers: Vec<u32> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| wrong())?;
        let starts = text.starts_with(|c: char| c.is_ascii_digit());
        if !starts || !text.chars().all(allowed) || numbers.len() < 3 {
            return Err(wrong());
        }
        let known = Flavour::ALL.into_iter().find(|known| known.suffix() == flavour);
        let flavour = match known {
            Some(known) => known,
            None if flavour.is_empty() => Flavour::default(),
            None => {
                let [cloud, generic] = Flavour::ALL.map(Flavour::suffix);
                return Err(format!(
                    "{given} is a kernel of the flavour {}, and guests run {text}{cloud} ({text} for \
                     short) and {text}{generic}",
                    flavour.trim_start_matches('-'),
                ));
            }
        };
        Ok(Self { text: text.to_owned(), numbers, flavour })
    }
}

/// A version and its flavour with the hyphen before it, which may be missing: what follows the
/// first hyphen before a word. `6.1.0-0.deb11.17` and `6.13-rc6` have none.
fn split_flavour(text: &str) -> (&str, &str) {
    let is_word = |rest: &str| {
        let rest = rest.strip_prefix("rc").unwrap_or(rest);
        rest.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    let mut hyphens = text.match_indices('-').map(|(index, _)| text.split_at(index));
    hyphens.find(|(_, rest)| rest.strip_prefix('-').is_some_and(is_word)).unwrap_or((text, ""))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.flavour {
            Flavour::Cloud => Ok(()),
            Flavour::Generic => f.write_str(self.flavour.suffix()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Series, Version};

    #[test]
    fn versions_of_both_series_and_flavours_are_read() {
        let old: Version = "6.1.0-47".parse().expect("a version");
        assert_eq!(old.release(), "6.1.0-47-cloud-amd64");
        assert_eq!(Series::of(&old), Some(Series::Debian6_1));
        let new = Version::of_image("linux-image-6.12.117+deb12-cloud-amd64").expect("a version");
        assert_eq!(Series::of(&new), Some(Series::Debian6_12));
        assert_eq!(new.to_string(), "6.12.117+deb12");
        assert_eq!("6.1.0-47-cloud-amd64".parse(), Ok(old.clone()));
        let generic: Version = "6.1.0-47-amd64".parse().expect("a version");
        assert_ne!(generic, old);
        assert_eq!(generic.release(), "6.1.0-47-amd64");
        assert_eq!(generic.to_string(), generic.release());
        assert_eq!(generic.image_package(), "linux-image-6.1.0-47-amd64");
        assert_eq!(Version::of_image("linux-image-6.1.0-47-amd64"), Some(generic));
    }

    #[test]
    fn another_flavour_is_named_with_those_that_guests_run() {
        for (text, flavour, short) in [
            ("6.1.0-47-rt-amd64", "rt-amd64", "6.1.0-47"),
            ("6.1.0-47-cloud-arm64", "cloud-arm64", "6.1.0-47"),
            ("6.1.0-47-cloud-amd64-dbg", "cloud-amd64-dbg", "6.1.0-47"),
            ("6.1.0-47-amd64-unsigned", "amd64-unsigned", "6.1.0-47"),
            ("6.12.117+deb12-arm64", "arm64", "6.12.117+deb12"),
        ] {
            let error = text.parse::<Version>().expect_err("another flavour");
            let named = format!(
                "{text} is a kernel of the flavour {flavour}, and guests run {short}-cloud-amd64 \
                 ({short} for short) and {short}-amd64"
            );
            assert_eq!(error, named);
        }
        for (text, shown) in [
            ("6.1.0-47", "6.1.0-47"),
            ("6.13.1-rc6", "6.13.1-rc6"),
            ("6.1.0-0.deb11.17", "6.1.0-0.deb11.17"),
            ("6.1.0-0.deb11.17-amd64", "6.1.0-0.deb11.17-amd64"),
            ("6.12.117+deb12-cloud-amd64", "6.12.117+deb12"),
        ] {
            let version = text.parse::<Version>();
            assert_eq!(version.map(|version| version.to_string()), Ok(shown.into()));
        }
        for text in
            ["", "-", "newest", "amd64", "6.1", "6.1-cloud-amd64", "6.1.0 47", "99999999999.1.0"]
        {
            let error = text.parse::<Version>().expect_err("nonsense");
            assert!(error.starts_with(&format!("{text} is no kernel version such as")), "{error}");
        }
    }

    #[test]
    fn packages_that_are_no_version_are_passed_over() {
        for name in [
            "linux-image-cloud-amd64",
            "linux-image-amd64",
            "linux-image-6.1.0-47",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.1.0-47-cloud-amd64-dbg",
            "linux-image-6.1.0-47-amd64-unsigned",
        ] {
            assert_eq!(Version::of_image(name), None, "{name}");
        }
        assert!("../6.1.0".parse::<Version>().is_err());
        assert!("6.1.0/47".parse::<Version>().is_err());
    }
}
