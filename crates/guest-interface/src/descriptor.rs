//! How an update is described to LUCOS.
//!
//! A descriptor is a [`DescriptorHeader`] followed by up to five tables in any order: functions,
//! values, data versions, shared fields and dependencies. Tables start at multiples of eight bytes, and
//! every byte behind the header belongs to exactly one of them.
//!
//! [`Descriptor::parse`] checks everything that can be checked without looking at the guest: a
//! descriptor that it accepts has no overlapping functions or values, no address outside the kernel's half,
//! no unknown flag and no bytes that mean nothing. The bytes must be LUCOS's own copy: the guest
//! can change its memory while it is read.

pub(crate) mod data;
mod functions;
mod parse;
mod records;
mod tables;
mod values;

#[cfg(any(test, feature = "std"))]
mod builder;

pub use data::{DataVersion, SharedField};
pub use functions::Function;
pub use parse::Descriptor;
pub use records::{
    DataVersionRecord, DependencyRecord, DescriptorHeader, FunctionRecord, SharedFieldRecord,
    ValueRecord,
};
pub use values::Value;

#[cfg(any(test, feature = "std"))]
pub use builder::DescriptorBuilder;

/// The first eight bytes of a descriptor.
pub const MAGIC: [u8; 8] = *b"LUCOSUPD";

/// Version of the descriptor format.
pub const DESCRIPTOR_VERSION: u32 = 2;

/// Most functions in one descriptor.
pub const MAX_FUNCTIONS: u32 = 64;
/// Most values in one descriptor.
pub const MAX_VALUES: u32 = 64;
/// Most data versions in one descriptor.
pub const MAX_DATA_VERSIONS: u32 = 32;
/// Most shared fields in one descriptor, over all data versions.
pub const MAX_SHARED_FIELDS: u32 = 256;
/// Most dependencies in one descriptor.
pub const MAX_DEPENDENCIES: u32 = 16;

/// Most expected bytes of a function.
pub const EXPECTED_SIZE: usize = 16;

/// Most bytes of a value.
pub const VALUE_SIZE: usize = 16;

/// Most bytes of an object or twin of a data version.
pub const MAX_INSTANCE_SIZE: u32 = 4096;
/// Most pages of a data version that may be guarded.
pub const MAX_GUARDED_PAGES: u32 = 1024;
/// Bytes of a pair: two addresses.
pub const PAIR_SIZE: u64 = 16;
/// Bytes of a page.
pub(crate) const PAGE_SIZE: u64 = 4096;

/// Bytes of the jump that replaces the start of a window.
pub const JUMP_SIZE: u64 = 5;

/// Header flag: run the checks and change nothing.
pub const FLAG_CHECK_ONLY: u32 = 1 << 0;

/// Header flag: nobody may be inside the old functions, else
/// [`Occupied`](crate::ErrorCode::Occupied).
pub const FLAG_CLEAR_ONLY: u32 = 1 << 1;

/// Header flag: the patch has hooks, which are the update manager's, and need not change anything by
/// itself.
pub const FLAG_HOOKS: u32 = 1 << 2;

/// Every header flag.
pub const HEADER_FLAGS: u32 = FLAG_CHECK_ONLY | FLAG_CLEAR_ONLY | FLAG_HOOKS;

/// Value flag: bytes that are not the old ones are left alone, and the rest is applied.
pub const VALUE_IF_DEFAULT: u32 = 1 << 0;

/// Every value flag.
pub const VALUE_FLAGS: u32 = VALUE_IF_DEFAULT;

/// Data version flag: what one side has cannot all be carried to the other and back.
pub const DATA_LOSSY: u32 = 1 << 0;
/// Data version flag: never guarded; applied and rolled back when nobody is inside only.
pub const DATA_CLEAR_ONLY: u32 = 1 << 1;
/// Data version flag: objects and twins are per-CPU variables.
pub const DATA_PER_CPU: u32 = 1 << 2;

/// Every data version flag.
pub const DATA_FLAGS: u32 = DATA_LOSSY | DATA_CLEAR_ONLY | DATA_PER_CPU;

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
