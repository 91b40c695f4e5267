//! What takes the place of the revisions that a manifest pins, when the archive drops them.

use std::process::{Command, Stdio};

use lucos_debian_archive::archive::{self, Archive};
use lucos_debian_archive::kernel::Version;
use lucos_debian_archive::pinned::stand_ins;

use crate::kernel_tree;
use crate::manifest::{Manifest, Revision};

/// Why nothing takes a revision's place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be asked.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// What is pinned is no kernel's version.
    #[error("{0}")]
    Version(String),
    /// There is no kernel with its source.
    #[error("the archive has no kernel {series} and its source")]
    NoKernel {
        /// Its series, as in the names of packages.
        series: String,
    },
    /// There is no source with the fixes.
    #[error(
        "the archive has no {package} {pinned} any more, and nothing newer than it and than the \
         kernel that is patched"
    )]
    NoFixed {
        /// The package.
        package: String,
        /// The version that is pinned.
        pinned: String,
    },
}

/// A manifest with the revisions that there are; `tell` hears of each that is another one.
///
/// # Errors
/// When a revision is gone and nothing takes its place, or the archive cannot be asked.
pub fn available(
    archive: &Archive,
    pinned: &Manifest,
    mut tell: impl FnMut(&str),
) -> Result<Manifest, Error> {
    let running = running(archive, &pinned.running, &mut tell)?;
    let fixed = fixed(archive, &pinned.fixed, &running, &mut tell)?;
    Ok(Manifest { running, fixed, ..pinned.clone() })
}

/// The kernel that a manifest pins, or the first of [`stand_ins`] whose source is there too.
///
/// # Errors
/// When there is none, or the archive cannot be asked.
pub fn running(
    archive: &Archive,
    pinned: &Revision,
    mut tell: impl FnMut(&str),
) -> Result<Revision, Error> {
    let package = kernel_tree::source_package(&pinned.source);
    let version: Version = pinned.kernel.parse().map_err(Error::Version)?;
    let image = version.image_package();
    let gone = if !archive.has(&image)? {
        image
    } else if !has_source(archive, &package, &pinned.source)? {
        format!("{package} {}", pinned.source)
    } else {
        return Ok(pinned.clone());
    };
    let series = package.trim_start_matches("linux-source-");
    let nearest = nearest(&version, kernels(archive, series)?, &versions(archive, &package)?)
        .ok_or_else(|| Error::NoKernel { series: series.to_owned() })?;
    tell(&format!("the archive has no {gone} any more; {} is patched instead", nearest.kernel));
    Ok(nearest)
}

/// The revision that has the fixes, or what has them too.
fn fixed(
    archive: &Archive,
    pinned: &Revision,
    running: &Revision,
    mut tell: impl FnMut(&str),
) -> Result<Revision, Error> {
    let package = kernel_tree::source_package(&pinned.source);
    let is_unpacked = archive.cache().join("sources").join(&pinned.source).is_dir();
    if is_unpacked || has_source(archive, &package, &pinned.source)? {
        return Ok(pinned.clone());
    }
    let offered = versions(archive, &package)?;
    let source = oldest_with_fixes(&offered, &pinned.source, &running.source).ok_or_else(|| {
        Error::NoFixed { package: package.clone(), pinned: pinned.source.clone() }
    })?;
    tell(&format!(
        "the archive has no {package} {} any more; fixes come from {source}, where the files and \
         functions of one may differ in more than the fix",
        pinned.source
    ));
    Ok(Revision { kernel: pinned.kernel.clone(), source: source.to_owned() })
}

/// Whether the archive or the cache has a version of the source.
fn has_source(archive: &Archive, package: &str, version: &str) -> Result<bool, Error> {
    match archive.file_of_version(package, version) {
        Ok(_) => Ok(true),
        Err(archive::Error::VersionGone { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The versions that the archive has, the newest first.
fn versions(archive: &Archive, package: &str) -> Result<Vec<String>, Error> {
    Ok(archive.versions(package)?.into_iter().map(|package| package.version).collect())
}

/// The kernels of a series that the archive has.
fn kernels(archive: &Archive, series: &str) -> Result<Vec<(Version, String)>, Error> {
    let mut kernels = Vec::new();
    for name in archive.names(&format!("linux-image-{series}."))? {
        if let (Some(kernel), Some(package)) = (Version::of_image(&name), archive.candidate(&name)?)
        {
            kernels.push((kernel, package.version));
        }
    }
    Ok(kernels)
}

/// What takes the place of a pinned kernel, of kernels and the sources that they were built from:
/// one whose source is among those that there are.
fn nearest(
    pinned: &Version,
    kernels: Vec<(Version, String)>,
    sources: &[String],
) -> Option<Revision> {
    let kernels = kernels.into_iter().filter(|(_, source)| sources.contains(source));
    let (kernels, built_from): (Vec<_>, Vec<_>) = kernels.unzip();
    let first = stand_ins(pinned, kernels.clone()).into_iter().next()?;
    let (_, source) = kernels.into_iter().zip(built_from).find(|(kernel, _)| *kernel == first)?;
    Some(Revision { kernel: first.to_string(), source })
}

/// The oldest version that is not older than the one with the fixes, and newer than the one that
/// is patched; the newest is the first.
fn oldest_with_fixes<'a>(offered: &'a [String], pinned: &str, running: &str) -> Option<&'a str> {
    let has_them =
        |version: &&String| is_version(version, "ge", pinned) && is_version(version, "gt", running);
    offered.iter().rev().find(has_them).map(String::as_str)
}

/// Whether one version has a relation to another, by Debian's own rules.
fn is_version(version: &str, relation: &str, other: &str) -> bool {
    Command::new("dpkg")
        .args(["--compare-versions", version, relation, other])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_nearest_kernel_with_a_source_is_patched() {
        let pinned = "6.1.0-47".parse().expect("a version");
        let kernels = [("53", "6.1.180-1"), ("48", "6.1.171-1"), ("50", "6.1.174-1")];
        let kernels = kernels.map(|(kernel, source)| {
            (format!("6.1.0-{kernel}").parse().expect("a version"), source.to_owned())
        });
        let nearest = |sources: &str| nearest(&pinned, kernels.to_vec(), &words(sources));
        let found = Revision { kernel: "6.1.0-50".into(), source: "6.1.174-1".into() };
        assert_eq!(nearest("6.1.192-2 6.1.180-1 6.1.174-1"), Some(found));
        assert_eq!(nearest(""), None);
    }

    #[test]
    fn fixes_come_from_the_oldest_source_that_has_them() {
        let offered = words("6.1.201-1 6.1.195-1 6.1.192-1 6.1.99-1");
        let choose = |pinned, running| oldest_with_fixes(&offered, pinned, running);
        assert_eq!(choose("6.1.192-2", "6.1.170-3"), Some("6.1.195-1"));
        assert_eq!(choose("6.1.192-1", "6.1.170-3"), Some("6.1.192-1"));
        // The kernel that is patched instead has the fixes itself: there must be something newer.
        assert_eq!(choose("6.1.192-2", "6.1.195-1"), Some("6.1.201-1"));
        assert_eq!(choose("6.1.192-2", "6.1.201-1"), None);
        assert_eq!(choose("6.1.202-1", "6.1.170-3"), None);
    }

    #[test]
    fn versions_are_compared_as_the_distribution_does() {
        assert!(is_version("6.12.117-1", "gt", "6.12.117-1~deb12u1"));
        assert!(is_version("6.1.100-1", "gt", "6.1.99-2"));
        assert!(!is_version("6.1.99-2", "ge", "6.1.100-1"));
    }
}
