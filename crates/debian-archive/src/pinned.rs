//! Kernels that a file pins, and what takes the place of one that the archive has dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::archive::{self, Archive};
use crate::kernel::{self, GuestKernel, Series, Version};

/// Why there is no pinned kernel, nor another one of its series.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file does not say which kernels.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive has none, or cannot be asked.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

/// A file that names a version for each series: lines such as `"debian-6.1" = "6.1.0-56"`.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    versions: BTreeMap<String, Version>,
}

impl Pins {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Content { path: path.to_owned(), reason };
        let lines: BTreeMap<String, String> =
            toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut versions = BTreeMap::new();
        for (series, text) in lines {
            let known: Series = series.parse().map_err(wrong)?;
            let version: Version = text.parse().map_err(wrong)?;
            if Series::of(&version) != Some(known) {
                return Err(wrong(format!("{version} is no kernel of {series}")));
            }
            versions.insert(series, version);
        }
        Ok(Self { path: path.to_owned(), versions })
    }

    /// The version that the file pins.
    ///
    /// # Errors
    /// When the file has none for the series.
    pub fn version(&self, series: Series) -> Result<&Version, Error> {
        self.versions.get(&series.to_string()).ok_or_else(|| Error::Content {
            path: self.path.clone(),
            reason: format!("no kernel for {series}"),
        })
    }

    /// The pinned kernel of a series with its headers; else the first of [`stand_ins`] that can be
    /// had with them, and `tell` hears of it.
    ///
    /// # Errors
    /// When the file has none for the series, or no kernel of the series can be had.
    pub fn kernel(
        &self,
        archive: &Archive,
        series: Series,
        tell: impl FnOnce(&str),
    ) -> Result<GuestKernel, Error> {
        let pinned = self.version(series)?;
        let fetch = || with_headers(archive, pinned);
        let gone = match kernel::with_fresh_lists(archive, fetch) {
            Err(error) if error.is_absence() => error,
            result => return Ok(result?),
        };
        for version in stand_ins(pinned, kernel::known(archive, series, pinned.flavour())?) {
            match with_headers(archive, &version) {
                Ok(kernel) => {
                    let release = pinned.release();
                    tell(&format!("{release} cannot be had; {} takes its place", kernel.release));
                    return Ok(kernel);
                }
                Err(error) if error.is_absence() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(gone.into())
    }
}

/// A kernel for which modules can be built.
fn with_headers(archive: &Archive, version: &Version) -> Result<GuestKernel, kernel::Error> {
    if !kernel::has_headers(archive, version)? {
        let name = kernel::headers_package(version);
        return Err(archive::Error::Gone { name, others: Vec::new() }.into());
    }
    GuestKernel::fetch(archive, version)
}

/// Versions in the order in which they take the place of a pinned one: those that are newer, the
/// oldest first, since they differ least; then those that are older, the newest first.
pub fn stand_ins(pinned: &Version, mut versions: Vec<Version>) -> Vec<Version> {
    versions.sort_by(|a, b| a.age(b));
    versions.dedup();
    let (mut order, mut older): (Vec<_>, Vec<_>) = versions
        .into_iter()
        .filter(|version| version != pinned)
        .partition(|version| version.age(pinned).is_gt());
    older.reverse();
    order.append(&mut older);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(text: &str) -> Vec<Version> {
        text.split_whitespace().map(|word| word.parse().expect("a version")).collect()
    }

    fn order(pinned: &str, offered: &str) -> Vec<String> {
        let pinned = pinned.parse().expect("a version");
        stand_ins(&pinned, versions(offered)).iter().map(Version::to_string).collect()
    }

    #[test]
    fn the_nearest_newer_kernel_takes_the_place() {
        assert_eq!(
            order("6.1.0-56", "6.1.0-112 6.1.0-57 6.1.0-9 6.1.0-56 6.1.0-55 6.1.0-57"),
            ["6.1.0-57", "6.1.0-112", "6.1.0-55", "6.1.0-9"]
        );
        assert_eq!(
            order("6.12.117+deb12", "6.12.9+deb12 6.12.200+deb12 6.12.118+deb12"),
            ["6.12.118+deb12", "6.12.200+deb12", "6.12.9+deb12"]
        );
        assert_eq!(order("6.1.0-56", ""), [""; 0]);
    }

    #[test]
    fn a_file_names_a_kernel_for_each_series() {
        let parse = |text: &str| Pins::parse(Path::new("k.toml"), text);
        let pins = parse("\"debian-6.1\" = \"6.1.0-56\"").expect("a file");
        let pinned = pins.version(Series::Debian6_1).expect("a version");
        assert_eq!(pinned.to_string(), "6.1.0-56");
        for (text, named) in [
            ("\"debian-6.1\" = 6", "string"),
            ("\"debian-7\" = \"6.1.0-56\"", "debian-7"),
            ("\"debian-6.1\" = \"6.12.117+deb12\"", "6.12.117+deb12"),
            ("\"debian-6.1\" = \"newest\"", "newest"),
        ] {
            let error = parse(text).expect_err("no file").to_string();
            assert!(error.starts_with("k.toml: ") && error.contains(named), "{error}");
        }
        let error = pins.version(Series::Debian6_12).expect_err("no version").to_string();
        assert_eq!(error, "k.toml: no kernel for debian-6.12");
        assert!(Pins::read(Path::new("/nonexistent")).is_err());
    }
}
