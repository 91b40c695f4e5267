//! What apt says of a package.

/// One version of a package that apt offers.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The size of the package file, in bytes.
    pub size: u64,
    /// The names it depends on, alternatives included, without versions.
    pub depends: Vec<String>,
}

/// Reads one paragraph of `apt-cache show`. Only a version that can be downloaded has a file
/// name.
pub(super) fn read_paragraph(name: &str, paragraph: &str) -> Option<Package> {
    let field =
        |key: &str| paragraph.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    field("Filename")?;
    if field("Package")? != name {
        return None;
    }
    let depends = field("Depends").unwrap_or("");
    Some(Package {
        name: name.to_owned(),
        version: field("Version")?.to_owned(),
        size: field("Size")?.parse().ok()?,
        depends: depends
            .split([',', '|'])
            .filter_map(|entry| entry.split_whitespace().next())
            .map(|entry| entry.split(':').next().unwrap_or(entry).to_owned())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAGRAPH: &str = "Package: linux-headers-6.1.0-47-cloud-amd64\nVersion: 6.1.170-3\n\
        Depends: linux-headers-6.1.0-47-common (= 6.1.170-3), linux-kbuild-6.1 (>= 6.1.170-3), gcc-12 | gcc\n\
        Filename: pool/x.deb\nSize: 1234";

    #[test]
    fn a_paragraph_is_read() {
        let package = read_paragraph("linux-headers-6.1.0-47-cloud-amd64", PARAGRAPH)
            .expect("the paragraph is complete");
        assert_eq!(package.version, "6.1.170-3");
        assert_eq!(package.size, 1234);
        assert_eq!(
            package.depends,
            ["linux-headers-6.1.0-47-common", "linux-kbuild-6.1", "gcc-12", "gcc"]
        );
    }

    #[test]
    fn an_installed_version_without_a_file_is_no_candidate() {
        let text = PARAGRAPH.replace("Filename: pool/x.deb\n", "");
        assert!(read_paragraph("linux-headers-6.1.0-47-cloud-amd64", &text).is_none());
    }

    #[test]
    fn a_paragraph_of_another_package_is_not_taken() {
        assert!(read_paragraph("linux-headers", PARAGRAPH).is_none());
    }
}
