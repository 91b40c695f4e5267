//! What the update manager tells LUCOS when it registers.

use crate::descriptor::{PAGE_SIZE, kernel_range_end};
use crate::error::{ErrorCode, Fault};
use crate::status::MAX_PROCESSORS;

/// Version of the registration record.
pub const REGISTRATION_VERSION: u32 = 2;

/// Pages of upcalls for each processor: a stack, a scratch page, and four for copies.
pub const UPCALL_PAGES: u64 = 6;

/// Most bytes of a kernel build id.
pub const BUILD_ID_SIZE: usize = 20;

/// Lowest address of the kernel's half with five-level paging; with four levels the half is
/// smaller, and the addresses below are refused because they are not mapped.
pub const KERNEL_HALF_START: u64 = 0xff00_0000_0000_0000;

record! {
    /// The guest kernel, as its update manager describes it.
    pub struct RegistrationRecord = "lucos_registration", 112 bytes {
        /// [`REGISTRATION_VERSION`].
        pub version: u32,
        /// Size of this record in bytes.
        pub size: u32,
        /// Flags, none are defined.
        pub flags: u32,
        /// Bytes of `build_id` in use, 0 to 20; 0 when the kernel has none.
        pub build_id_length: u32,
        /// The kernel's GNU build id, zero behind its end.
        pub build_id: [u8; 20],
        /// Zero.
        pub reserved: u32,
        /// First address of the kernel's own text.
        pub text_start: u64,
        /// Address behind the kernel's own text.
        pub text_end: u64,
        /// First address of the area that modules are loaded to.
        pub modules_start: u64,
        /// Address behind the area that modules are loaded to.
        pub modules_end: u64,
        /// A value that is the same during one boot of the guest kernel and differs between two.
        pub boot_identity: [u8; 16],
        /// Where upcalls begin, in the area of modules; 0 when the manager takes none.
        pub upcall_entry: u64,
        /// Address of their pages, [`UPCALL_PAGES`] for each processor; 0 without an entry.
        pub upcall_pages: u64,
        /// Number of processors that have such pages; 0 without an entry.
        pub processors: u32,
        /// Zero.
        pub reserved2: u32,
    }
}

/// Offset of `boot_identity`, in bytes: the detail of [`ErrorCode::Registration`] when it is at fault.
pub const BOOT_IDENTITY: usize = 72;

/// A registration record that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    record: RegistrationRecord,
}

impl Registration {
    /// Checks a registration record. `bytes` is exactly what the guest handed over.
    ///
    /// # Errors
    /// [`ErrorCode::Registration`] with the offset of the field at fault as detail.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let wrong = |offset: usize| Fault::new(ErrorCode::Registration, offset as u64);
        let record = RegistrationRecord::read(bytes).ok_or(wrong(0))?;
        if record.version != REGISTRATION_VERSION {
            return Err(wrong(0));
        }
        if bytes.len() != RegistrationRecord::SIZE || record.size as usize != bytes.len() {
            return Err(wrong(4));
        }
        if record.flags != 0 {
            return Err(wrong(8));
        }
        if !build_id_is_valid(&record.build_id, record.build_id_length) {
            return Err(wrong(12));
        }
        if record.reserved != 0 {
            return Err(wrong(36));
        }
        let text = (record.text_start, record.text_end);
        let modules = (record.modules_start, record.modules_end);
        if !is_kernel_area(text) {
            return Err(wrong(40));
        }
        if !is_kernel_area(modules) {
            return Err(wrong(56));
        }
        if text.0 < modules.1 && modules.0 < text.1 {
            return Err(wrong(56));
        }
        if record.boot_identity == [0; 16] {
            return Err(wrong(BOOT_IDENTITY));
        }
        check_upcalls(&record).map_err(wrong)?;
        Ok(Self { record })
    }

    /// The checked record.
    #[must_use]
    pub const fn record(&self) -> &RegistrationRecord {
        &self.record
    }

    /// Whether the manager takes upcalls.
    #[must_use]
    pub const fn takes_upcalls(&self) -> bool {
        self.record.upcall_entry != 0
    }

    /// The kernel's build id, empty when it has none.
    #[must_use]
    pub fn build_id(&self) -> &[u8] {
        self.record.build_id.get(..self.record.build_id_length as usize).unwrap_or_default()
    }

    /// Whether the bytes from `start` up to `end` are text of the kernel itself.
    #[must_use]
    pub const fn is_kernel_text(&self, start: u64, end: u64) -> bool {
        start < end && start >= self.record.text_start && end <= self.record.text_end
    }

    /// Whether the bytes from `start` up to `end` lie in the module area.
    #[must_use]
    pub const fn is_module_area(&self, start: u64, end: u64) -> bool {
        start < end && start >= self.record.modules_start && end <= self.record.modules_end
    }
}

/// The offset of the field of upcalls that is wrong.
fn check_upcalls(record: &RegistrationRecord) -> Result<(), usize> {
    if record.reserved2 != 0 {
        return Err(108);
    }
    if record.upcall_entry == 0 {
        return match (record.upcall_pages, record.processors) {
            (0, 0) => Ok(()),
            (0, _) => Err(104),
            _ => Err(96),
        };
    }
    if !(record.modules_start..record.modules_end).contains(&record.upcall_entry) {
        return Err(88);
    }
    if record.processors == 0 || record.processors as usize > MAX_PROCESSORS {
        return Err(104);
    }
    let size = u64::from(record.processors) * UPCALL_PAGES * PAGE_SIZE;
    let pages = record.upcall_pages;
    if !pages.is_multiple_of(PAGE_SIZE) || kernel_range_end(pages, size).is_none() {
        return Err(96);
    }
    Ok(())
}

/// Whether a build id field is well-formed: at most 20 bytes, zero behind the used ones.
pub(crate) fn build_id_is_valid(build_id: &[u8; BUILD_ID_SIZE], length: u32) -> bool {
    match build_id.split_at_checked(length as usize) {
        Some((_, tail)) => tail.iter().all(|&byte| byte == 0),
        None => false,
    }
}

const fn is_kernel_area((start, end): (u64, u64)) -> bool {
    start >= KERNEL_HALF_START && start < end
}

#[cfg(test)]
mod tests {
    use super::{REGISTRATION_VERSION, Registration, RegistrationRecord};
    use crate::error::ErrorCode;

    fn valid() -> RegistrationRecord {
        RegistrationRecord {
            version: REGISTRATION_VERSION,
            size: RegistrationRecord::SIZE as u32,
            build_id_length: 3,
            build_id: {
                let mut build_id = [0; 20];
                build_id[..3].copy_from_slice(&[1, 2, 3]);
                build_id
            },
            text_start: 0xffff_ffff_8100_0000,
            text_end: 0xffff_ffff_8200_0000,
            modules_start: 0xffff_ffff_c000_0000,
            modules_end: 0xffff_ffff_ff00_0000,
            boot_identity: [7; 16],
            ..RegistrationRecord::default()
        }
    }

    fn with_upcalls(record: &mut RegistrationRecord) -> &mut RegistrationRecord {
        record.upcall_entry = record.modules_start;
        record.upcall_pages = 0xffff_8880_0000_1000;
        record.processors = 64;
        record
    }

    #[test]
    fn a_valid_record_is_taken() {
        let registration = Registration::parse(&valid().to_bytes()).unwrap();
        assert_eq!(registration.build_id(), [1, 2, 3]);
        assert!(registration.is_kernel_text(0xffff_ffff_8100_0000, 0xffff_ffff_8200_0000));
        assert!(!registration.is_kernel_text(0xffff_ffff_8100_0000, 0xffff_ffff_8200_0001));
        assert!(!registration.is_kernel_text(0xffff_ffff_8100_0000, 0xffff_ffff_8100_0000));
        assert!(registration.is_module_area(0xffff_ffff_c000_0000, 0xffff_ffff_c000_0001));
        assert!(!registration.takes_upcalls());
        let upcalls = Registration::parse(&with_upcalls(&mut valid()).to_bytes()).unwrap();
        assert!(upcalls.takes_upcalls());
        assert!(!registration.is_module_area(0xffff_ffff_bfff_ffff, 0xffff_ffff_c000_0001));
    }

    #[test]
    fn each_wrong_field_is_named() {
        type Change = fn(&mut RegistrationRecord);
        let cases: [(Change, u64); 22] = [
            (|record| record.version = 1, 0),
            (|record| record.size += 8, 4),
            (|record| record.flags = 1, 8),
            (|record| record.build_id_length = 21, 12),
            (|record| record.build_id_length = 2, 12),
            (|record| record.reserved = 1, 36),
            (|record| record.text_end = record.text_start, 40),
            (|record| record.text_start = 0x1000, 40),
            (|record| record.modules_start = 0, 56),
            (|record| record.modules_start = record.text_end - 1, 56),
            (|record| record.boot_identity = [0; 16], 72),
            (|record| record.upcall_pages = 0xffff_8880_0000_1000, 96),
            (|record| record.processors = 1, 104),
            (|record| record.reserved2 = 1, 108),
            (|record| with_upcalls(record).upcall_entry = record.text_start, 88),
            (|record| with_upcalls(record).upcall_entry = record.modules_end, 88),
            (|record| with_upcalls(record).upcall_pages = 0, 96),
            (|record| with_upcalls(record).upcall_pages += 8, 96),
            (|record| with_upcalls(record).upcall_pages = !0xfff, 96),
            (|record| with_upcalls(record).processors = 0, 104),
            (|record| with_upcalls(record).processors = 65, 104),
            (|record| with_upcalls(record).reserved2 = 8, 108),
        ];
        for (change, offset) in cases {
            let mut record = valid();
            change(&mut record);
            let fault = Registration::parse(&record.to_bytes()).unwrap_err();
            assert_eq!((fault.code, fault.detail), (ErrorCode::Registration, offset));
        }
        let bytes = valid().to_bytes();
        assert!(Registration::parse(&bytes[..bytes.len() - 1]).is_err());
        assert!(Registration::parse(&[]).is_err());
    }
}
