//! How an update is described to LUCOS.
//!
//! A descriptor is a [`DescriptorHeader`] followed by up to four tables in any order: functions,
//! data versions, shared fields and dependencies. Tables start at multiples of eight bytes, and
//! every byte behind the header belongs to exactly one of them.
//!
//! [`Descriptor::parse`] checks everything that can be checked without looking at the guest: a
//! descriptor that it accepts has no overlapping functions, no address outside the kernel's half,
//! no unknown flag and no bytes that mean nothing. The bytes must be LUCOS's own copy: the guest
//! can change its memory while it is read.

mod data;
mod functions;
mod parse;
mod records;
mod tables;

#[cfg(any(test, feature = "std"))]
mod builder;

pub use data::{DataVersion, SharedField};
pub use functions::Function;
pub use parse::Descriptor;
pub use records::{
    DataVersionRecord, DependencyRecord, DescriptorHeader, FunctionRecord, SharedFieldRecord,
};

#[cfg(any(test, feature = "std"))]
pub use builder::DescriptorBuilder;

/// The first eight bytes of a descriptor.
pub const MAGIC: [u8; 8] = *b"LUCOSUPD";

/// Version of the descriptor format.
pub const DESCRIPTOR_VERSION: u32 = 1;

/// Most functions in one descriptor.
pub const MAX_FUNCTIONS: u32 = 64;
/// Most data versions in one descriptor.
pub const MAX_DATA_VERSIONS: u32 = 32;
/// Most shared fields in one descriptor, over all data versions.
pub const MAX_SHARED_FIELDS: u32 = 256;
/// Most dependencies in one descriptor.
pub const MAX_DEPENDENCIES: u32 = 16;

/// Most expected bytes of a function.
pub const EXPECTED_SIZE: usize = 16;

/// Bytes of the jump that replaces the start of a window.
pub const JUMP_SIZE: u64 = 5;

/// Header flag: run the checks and change nothing.
pub const FLAG_CHECK_ONLY: u32 = 1 << 0;

/// Every header flag.
pub const HEADER_FLAGS: u32 = FLAG_CHECK_ONLY;

/// Function flag: an ftrace slot ends where the site starts, or is the site.
pub const FUNCTION_FENTRY_SLOT: u32 = 1 << 0;
/// Function flag: the site is the ftrace slot itself, because the function branches to the
/// instruction behind it.
pub const FUNCTION_SITE_IS_SLOT: u32 = 1 << 1;
/// Function flag: the window must keep its trap; the record's reason says why.
pub const FUNCTION_NO_JUMP: u32 = 1 << 2;

/// Every function flag.
pub const FUNCTION_FLAGS: u32 = FUNCTION_FENTRY_SLOT | FUNCTION_SITE_IS_SLOT | FUNCTION_NO_JUMP;

/// Whether an address lies in the kernel's half of the address space.
pub(crate) const fn is_kernel_address(address: u64) -> bool {
    address >= crate::registration::KERNEL_HALF_START
}

/// The end of `size` bytes from `start`, if all of them lie in the kernel's half.
pub(crate) const fn kernel_range_end(start: u64, size: u64) -> Option<u64> {
    if !is_kernel_address(start) {
        return None;
    }
    start.checked_add(size)
}
