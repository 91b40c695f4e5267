//! The bundle: one tar archive with everything that LUCOS consists of.

use heapless::{String, Vec};
use lucos_system_info::{MAX_MODULES, Module};
use tar_no_std::TarArchiveRef;

use crate::error::BootError;

/// What is in the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// The kernel's ELF file.
    pub kernel: &'a [u8],
    /// All other members.
    pub modules: Vec<Module, MAX_MODULES>,
    /// The archive, and its physical address.
    bytes: &'a [u8],
    address: u64,
}

impl<'a> Bundle<'a> {
    /// What the member with this name holds.
    pub fn member(&self, name: &str) -> Option<&'a [u8]> {
        let module = self.modules.iter().find(|module| module.name == name)?;
        let start = (module.start - self.address) as usize;
        self.bytes.get(start..start + module.length as usize)
    }

    /// The image of a task.
    pub fn task(&self, name: &str) -> Option<&'a [u8]> {
        let is_image = |module: &&Module| module.name.strip_prefix("tasks/") == Some(name);
        self.modules.iter().find(is_image).and_then(|module| self.member(&module.name))
    }

    /// The members that are for the guest.
    pub fn for_guest(&self) -> Vec<Module, MAX_MODULES> {
        self.modules.iter().filter(|module| module.name.starts_with("guest/")).cloned().collect()
    }
}

/// Opens the bundle that lies at physical address `address`.
///
/// # Errors
/// The bytes are no tar archive, a name is not usable, or there is no kernel.
pub fn open(bytes: &[u8], address: u64) -> Result<Bundle<'_>, BootError> {
    let archive = TarArchiveRef::new(bytes).map_err(BootError::BadBundle)?;
    let mut kernel = None;
    let mut modules: Vec<Module, MAX_MODULES> = Vec::new();
    for entry in archive.entries() {
        let name = entry.filename();
        let name = name.as_str().map_err(|_| BootError::BadMember)?;
        let known = modules.iter().any(|module| module.name == name);
        if known || (name == "kernel" && kernel.is_some()) {
            return Err(BootError::BadMember);
        }
        if name == "kernel" {
            kernel = Some(entry.data());
            continue;
        }
        let offset = entry.data().as_ptr() as u64 - bytes.as_ptr() as u64;
        let module = Module {
            name: String::try_from(name).map_err(|_| BootError::BadMember)?,
            start: address + offset,
            length: entry.data().len() as u64,
        };
        modules.push(module).map_err(|_| BootError::BadMember)?;
    }
    let kernel = kernel.ok_or(BootError::NoKernel)?;
    Ok(Bundle { kernel, modules, bytes, address })
}

#[cfg(test)]
pub(crate) mod tests {
    use tar_no_std::CorruptDataError;

    use super::open;
    use crate::error::BootError;

    const BLOCK: usize = 512;

    /// A tar archive, written by hand so that it can be broken.
    pub(crate) fn archive(members: &[Member<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in members {
            let mut header = [0; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[100..108].copy_from_slice(b"0000644\0");
            let size = format!("{:011o}\0", content.len());
            header[124..136].copy_from_slice(size.as_bytes());
            header[148..156].copy_from_slice(b"        ");
            header[156] = b'0';
            header[257..265].copy_from_slice(b"ustar\x0000");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            bytes.extend(header);
            bytes.extend(*content);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    pub(crate) type Member<'a> = (&'a str, &'a [u8]);

    const KERNEL: Member<'_> = ("kernel", b"an ELF file");

    #[test]
    fn members_have_names_and_addresses() {
        let bytes = archive(&[("tasks/vmx", &[1; 600]), KERNEL, ("guest/cmdline", b"")]);
        let bundle = open(&bytes, 0x700_0000).unwrap();
        assert_eq!(bundle.kernel, KERNEL.1);
        let found: Vec<_> = bundle
            .modules
            .iter()
            .map(|module| (module.name.as_str(), module.start, module.length))
            .collect();
        let expected = [("tasks/vmx", 0x700_0200, 600), ("guest/cmdline", 0x700_0c00, 0)];
        assert_eq!(found, expected);
        assert_eq!(bundle.member("tasks/vmx"), Some(&[1; 600][..]));
        assert_eq!(bundle.member("guest/cmdline"), Some(&b""[..]));
        assert_eq!((bundle.member("kernel"), bundle.member("tasks")), (None, None));
        assert_eq!(bundle.for_guest(), bundle.modules[1..]);
    }

    #[test]
    fn unusable_members_are_refused() {
        let long = "guest/a-name-that-is-longer-than-32";
        let many: Vec<_> = (0..13).map(|number| format!("guest/{number}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
        let cases: [(&[Member<'_>], BootError); 5] = [
            (&[("tasks/vmx", b"")], BootError::NoKernel),
            (&[KERNEL, ("a", b""), ("a", b"")], BootError::BadMember),
            (&[KERNEL, KERNEL], BootError::BadMember),
            (&[KERNEL, (long, b"")], BootError::BadMember),
            (&many, BootError::BadMember),
        ];
        for (members, expected) in cases {
            assert_eq!(open(&archive(members), 0x1000), Err(expected));
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let whole = archive(&[KERNEL]);
        let mut changed = whole.clone();
        changed[0] ^= 1;
        let checksum = CorruptDataError::InvalidChecksum { block_index: 0 };
        assert_eq!(open(&changed, 0), Err(BootError::BadBundle(checksum)));
        for length in (0..whole.len()).step_by(BLOCK / 2) {
            let result = open(&whole[..length], 0);
            assert!(matches!(result, Err(BootError::BadBundle(_))), "{length}");
        }
    }
}
