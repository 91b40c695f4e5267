//! Reads and writes x86 code, as far as LUCOS has to.
//!
//! * [`length`]: how long an instruction is.
//! * [`store`]: what a `mov` to memory stores, and where.
//! * [`window`]: what stands in the way of a redirection at a place of a function.
//! * [`jump`]: the bytes of a redirection.
//!
//! All code comes from the guest, so every function takes any bytes whatever and answers with an
//! error where they mean nothing.
//!
//! The decoder is iced-x86. It builds its tables on the heap when it is first used; see
//! [`prepare`].

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod jump;
pub mod length;
pub mod store;
pub mod window;

mod branch;
mod decoder;

/// Longest x86 instruction in bytes (Intel SDM vol. 2, 2.3.11).
pub const LONGEST_INSTRUCTION: usize = 15;

/// Bytes of heap that the decoder's tables take for good, measured and rounded up. Everything else
/// in this crate works on the stack.
pub const HEAP_NEEDED: usize = 512 * 1024;

/// Builds the decoder's tables, so that no later call allocates. Takes some hundred thousand
/// instructions: call it before time matters.
pub fn prepare() {
    // Any decoding does it.
    let _ = length::instruction_length(&[0x90], 64);
}
