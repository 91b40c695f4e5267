//! Values with which a guest starts: those of a reset (APM vol. 2, table 14-1), in 64-bit mode.

/// Protected mode.
pub const CR0_PE: u64 = 1;
/// Floating point raises an exception.
pub const CR0_TS: u64 = 1 << 3;
/// Floating-point errors are exceptions.
pub const CR0_NE: u64 = 1 << 5;
/// Paging.
pub const CR0_PG: u64 = 1 << 31;
/// Page-table entries of 64 bits.
pub const CR4_PAE: u64 = 1 << 5;
/// ET, NE, WP and MP beside paging and protection: what the boot protocols of Linux expect.
pub const CR0_START: u64 = CR0_PG | 1 << 16 | CR0_NE | 1 << 4 | 1 << 1 | CR0_PE;

/// Attribute of a code segment: 64-bit code.
pub const LONG: u16 = 1 << 9;
/// Attribute of a code segment: 32-bit code, or with [`LONG`] nothing that exists.
pub const DEFAULT_32: u16 = 1 << 10;
/// Present, accessed, execute/read code with [`LONG`].
pub const CODE_64: u16 = 0xa9b;
/// Present, accessed, read/write.
pub const DATA: u16 = 0xc93;
/// Busy 64-bit task state.
pub const BUSY_TSS: u16 = 0x8b;
/// Local descriptor table.
pub const LDT: u16 = 0x82;

/// The bit that is always set.
pub const RFLAGS: u64 = 1 << 1;
/// RFLAGS bits that exist (APM vol. 2, 3.1.6).
pub const RFLAGS_USED: u64 = 0x003f_7fd5;
/// No debug exception has come.
pub const DR6: u64 = 0xffff_0ff0;
/// No breakpoint.
pub const DR7: u64 = 0x400;
/// Memory types (APM vol. 2, 7.8.2).
pub const PAT: u64 = 0x0007_0406_0007_0406;
