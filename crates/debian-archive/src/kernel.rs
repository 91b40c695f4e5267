//! Which kernel the guest runs, and where its parts are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::archive::{self, Archive};
use crate::packages;
use crate::version::IMAGE;
pub use crate::version::{Flavour, Series, Version};

const HEADERS: &str = "linux-headers-";

/// A guest kernel on this machine.
#[derive(Clone, Debug)]
pub struct GuestKernel {
    /// What `uname -r` prints on it.
    pub release: String,
    /// The bzImage.
    pub image: PathBuf,
    /// `lib/modules/<release>`, when its modules are known.
    pub modules: Option<PathBuf>,
    /// A folder for `make -C`, when external modules can be built.
    pub headers: Option<PathBuf>,
}

/// Why there is no guest kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package is missing or broken.
    #[error(transparent)]
    Package(#[from] archive::Error),
    /// No kernel of the series is offered.
    #[error("the package archive offers no kernel of the series {0}; `apt-get update` may help")]
    NoneOffered(Series),
    /// No kernel was built from a version of the source.
    #[error(
        "the package archive offers no kernel of the source version {0}, and the cache has none"
    )]
    NoSource(String),
    /// A package does not hold what it should.
    #[error("package {package} has no {}", path.display())]
    Incomplete {
        /// The package.
        package: String,
        /// The file that is missing.
        path: PathBuf,
    },
    /// A file given by the user cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file given as a kernel is none.
    #[error("{} is no bzImage: {reason}", path.display())]
    NotABzImage {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// Headers belong to another kernel.
    #[error("the headers in {} are for {headers}, the kernel is {kernel}", path.display())]
    OtherHeaders {
        /// The headers' folder.
        path: PathBuf,
        /// The release they are for.
        headers: String,
        /// The kernel's release.
        kernel: String,
    },
}

impl Error {
    /// Whether the archive does not have what was asked for, as far as its lists tell.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoneOffered(_)
                | Self::Package(archive::Error::Gone { .. } | archive::Error::Download { .. })
        )
    }
}

impl GuestKernel {
    /// The newest kernel of a series and flavour for which headers are offered too.
    ///
    /// # Errors
    /// When none is offered or it cannot be fetched.
    pub fn newest(archive: &Archive, series: Series, flavour: Flavour) -> Result<Self, Error> {
        let mut versions = offered(archive, series, flavour)?;
        while let Some(version) = versions.pop() {
            let headers = headers_package(&version);
            let image = version.image_package();
            archive.ask(&[&headers, &image])?;
            if archive.candidate(&image)?.is_some() && archive.candidate(&headers)?.is_some() {
                return Self::fetch(archive, &version);
            }
        }
        Err(Error::NoneOffered(series))
    }

    /// One version, from the archive or from the cache.
    ///
    /// # Errors
    /// When it is gone (the message lists what is there) or cannot be fetched.
    pub fn fetch(archive: &Archive, version: &Version) -> Result<Self, Error> {
        let release = version.release();
        let package = version.image_package();
        if !archive.has(&package)? {
            let others = match Series::of(version) {
                Some(series) => offered(archive, series, version.flavour())?,
                None => Vec::new(),
            };
            return Err(Error::Package(archive::Error::Gone {
                name: package,
                others: others.iter().map(Version::to_string).collect(),
            }));
        }
        let root = archive.unpacked(&[&package])?.remove(0);
        let kernel = Self {
            image: root.join(format!("boot/vmlinuz-{release}")),
            modules: Some(root.join(format!("lib/modules/{release}"))),
            headers: headers(archive, &release)?,
            release,
        };
        let missing = [Some(&kernel.image), kernel.modules.as_ref()]
            .into_iter()
            .flatten()
            .find(|path| !path.exists())
            .cloned();
        match missing {
            None => Ok(kernel),
            Some(path) => Err(Error::Incomplete { package, path }),
        }
    }

    /// A bzImage of the user's, with headers if there are any. Its modules are not known.
    ///
    /// # Errors
    /// When the file is no bzImage, or the headers are for another kernel.
    pub fn of_file(image: &Path, headers: Option<&Path>) -> Result<Self, Error> {
        let bytes =
            fs::read(image).map_err(|source| Error::File { path: image.to_owned(), source })?;
        let release = release_of(&bytes)
            .map_err(|reason| Error::NotABzImage { path: image.to_owned(), reason })?;
        if let Some(folder) = headers {
            let file = folder.join("include/config/kernel.release");
            let text = fs::read_to_string(&file)
                .map_err(|source| Error::File { path: file.clone(), source })?;
            if text.trim() != release {
                return Err(Error::OtherHeaders {
                    path: folder.to_owned(),
                    headers: text.trim().to_owned(),
                    kernel: release,
                });
            }
        }
        Ok(Self {
            release,
            image: image.to_owned(),
            modules: None,
            headers: headers.map(Path::to_owned),
        })
    }
}

/// The versions of a series and flavour that apt's lists name, oldest first.
fn offered(archive: &Archive, series: Series, flavour: Flavour) -> Result<Vec<Version>, Error> {
    let mut versions: Vec<Version> = archive
        .names(IMAGE)?
        .iter()
        .filter_map(|name| Version::of_image(name))
        .filter(|version| Series::of(version) == Some(series) && version.flavour() == flavour)
        .collect();
    versions.sort_by(Version::age);
    Ok(versions)
}

/// The versions of a series and flavour that apt's lists or the cache name.
pub(crate) fn known(
    archive: &Archive,
    series: Series,
    flavour: Flavour,
) -> Result<Vec<Version>, Error> {
    let mut versions = offered(archive, series, flavour)?;
    let cached = archive.cached_names(IMAGE);
    let cached = cached.iter().filter_map(|name| Version::of_image(name));
    let is_it =
        |version: &Version| Series::of(version) == Some(series) && version.flavour() == flavour;
    versions.extend(cached.filter(is_it));
    Ok(versions)
}

/// The package with a version's headers.
pub(crate) fn headers_package(version: &Version) -> String {
    format!("{HEADERS}{}", version.release())
}

/// Whether a version's headers are offered, or unpacked in the cache.
pub(crate) fn has_headers(archive: &Archive, version: &Version) -> Result<bool, Error> {
    let package = headers_package(version);
    let is_unpacked = headers_place(archive, &version.release()).is_dir();
    Ok(is_unpacked || archive.candidate(&package)?.is_some())
}

/// The folder into which the headers of a release and what they need are unpacked.
fn headers_place(archive: &Archive, release: &str) -> PathBuf {
    archive.place(&format!("headers-{release}"))
}

/// The kernel of a flavour that was built from a version of the source package, such as `6.1.170-3`.
///
/// # Errors
/// When neither the archive nor the cache has one.
pub fn of_source(archive: &Archive, source: &str, flavour: Flavour) -> Result<Version, Error> {
    let mut names = archive.names(IMAGE)?;
    names.extend(archive.cached_names(IMAGE));
    let is_meant = |version: Version| version.flavour() == flavour;
    names.retain(|name| Version::of_image(name).is_some_and(is_meant));
    archive.ask(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    for name in &names {
        let offered = archive.candidate(name)?.is_some_and(|package| package.version == source);
        if offered || archive.has_cached(name, source) {
            return Version::of_image(name).ok_or_else(|| Error::NoSource(source.to_owned()));
        }
    }
    Err(Error::NoSource(source.to_owned()))
}

/// Fetches, and does so once more with apt's lists renewed when they are missing, or name what the
/// archive has dropped.
///
/// # Errors
/// That of the last attempt.
pub fn with_fresh_lists<T>(
    archive: &Archive,
    fetch: impl Fn() -> Result<T, Error>,
) -> Result<T, Error> {
    match fetch() {
        Err(error) if error.is_absence() => {
            if let Err(reason) = packages::update_lists() {
                eprintln!("{reason:#}");
                return Err(error);
            }
            archive.forget();
            fetch()
        }
        result => result,
    }
}

/// Unpacks the headers of a release into one tree that works where it is. `None` when the
/// archive has the image only, as it does for some versions.
fn headers(archive: &Archive, release: &str) -> Result<Option<PathBuf>, Error> {
    let package = format!("{HEADERS}{release}");
    let place = headers_place(archive, release);
    let build = place.join("usr/src").join(&package);
    if build.is_dir() {
        return Ok(Some(build));
    }
    let Some(found) = archive.candidate(&package)? else {
        return Ok(None);
    };
    let mut names = vec![package.as_str()];
    names.extend(found.depends.iter().map(String::as_str).filter(|name| {
        name.starts_with("linux-kbuild-")
            || (name.starts_with(HEADERS) && name.ends_with("-common"))
    }));
    let files = archive.files(&names)?;
    archive.unpack_together(&files, &place, |tree| {
        let makefile = tree.join("usr/src").join(&package).join("Makefile");
        relocate(&makefile, &place)
            .map_err(|source| archive::Error::Cache { path: makefile, source })
    })?;
    Ok(Some(build))
}

/// The links between the packages are relative; only this one line is not.
fn relocate(makefile: &Path, place: &Path) -> std::io::Result<()> {
    let text = fs::read_to_string(makefile)?;
    let moved = text.replace("/usr/src/", &format!("{}/usr/src/", place.display()));
    fs::write(makefile, moved)
}

/// Reads the release out of a bzImage (Linux x86 boot protocol: `header` at 0x202,
/// `kernel_version` at 0x20e, relative to 0x200).
fn release_of(image: &[u8]) -> Result<String, &'static str> {
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err("it has no boot protocol header");
    }
    let pointer = match image.get(0x20e..0x210) {
        Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
        _ => 0,
    };
    if pointer == 0 {
        return Err("it does not tell its version");
    }
    let text = image
        .get(pointer + 0x200..)
        .unwrap_or_default()
        .split(|byte| byte.is_ascii_whitespace() || *byte == 0)
        .next()
        .unwrap_or_default();
    if text.is_empty() || text.len() > 64 || !text.iter().all(u8::is_ascii_graphic) {
        return Err("it does not tell its version");
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_the_header() {
        let mut image = vec![0_u8; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x30e].copy_from_slice(b"6.1.0-47 (who)");
        assert_eq!(release_of(&image), Ok(String::from("6.1.0-47")));
        image[0x20e..0x210].copy_from_slice(&0xfff0_u16.to_le_bytes());
        assert!(release_of(&image).is_err());
        assert!(release_of(&image[..0x100]).is_err());
    }
}
