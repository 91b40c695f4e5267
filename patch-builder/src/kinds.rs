//! Which kinds of files can be patched.

use std::path::Path;

use crate::error::Error;

/// Whether a change of a file can be patched, going by its name.
///
/// # Errors
/// [`Error::NotPatchable`]
pub(crate) fn check_kind(path: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::NotPatchable { file: path.into(), why: why.into() });
    let part = |name: &str| path.split('/').any(|part| part == name);
    if part("vdso") {
        return refuse("the vDSO is mapped into processes as it was at boot; leave this part out");
    }
    if path.starts_with("arch/x86/boot/") || part("realmode") || part("purgatory") {
        return refuse("boot code has run already; leave this part out");
    }
    if path.starts_with("arch/") && !path.starts_with("arch/x86/") {
        return refuse("it belongs to another architecture; leave this part out");
    }
    match Path::new(path).extension().and_then(|extension| extension.to_str()) {
        Some("c" | "h") => Ok(()),
        Some("S") => refuse("assembly is not patched; replace the C functions that call it"),
        _ => refuse("only C sources and headers are patched; leave this part out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_c_is_refused_with_a_reason() {
        for path in [
            "arch/x86/entry/entry_64.S",
            "arch/x86/entry/vdso/vma.c",
            "mm/Kconfig",
            "arch/x86/boot/main.c",
            "arch/arm64/mm/fault.c",
        ] {
            assert!(check_kind(path).is_err(), "{path}");
        }
        assert!(check_kind("mm/mremap.c").is_ok());
    }
}
