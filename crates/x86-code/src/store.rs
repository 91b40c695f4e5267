//! What a `mov` to memory stores, and where.

use iced_x86::{Code, Instruction, OpKind, Register};
use lucos_abi::registers::Registers;

use crate::decoder::{DecodeError, first};

/// A store of a general register or an immediate value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// Bytes stored: 1, 2, 4 or 8.
    pub width: u8,
    /// The value; bits above the width are 0.
    pub value: u64,
    /// Guest-virtual address of the first byte.
    pub address: u64,
    /// Length of the instruction in bytes.
    pub length: u8,
}

/// Why an instruction is not taken for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The vCPU does not run 64-bit code.
    CodeSize,
    /// The bytes end inside the instruction.
    Truncated,
    /// The bytes are no instruction.
    Invalid,
    /// An instruction, but not a `mov` of a general register or an immediate value to memory.
    NotAStore,
    /// The address is relative to FS or GS, whose bases are not in the register block.
    Segment,
}

/// Decodes the store at the start of `code`, whose first byte is at `registers.rip`.
///
/// Known are the forms that compilers make of a plain assignment to a memory location: `mov`
/// (88, 89, A2, A3, C6, C7) of 1 to 8 bytes, with any prefix that is allowed there.
///
/// # Errors
/// [`StoreError`]
pub fn decode_store(code: &[u8], registers: &Registers) -> Result<Store, StoreError> {
    if registers.code_size != 64 {
        return Err(StoreError::CodeSize);
    }
    let instruction = first(64, code, registers.rip).map_err(|error| match error {
        DecodeError::Truncated => StoreError::Truncated,
        DecodeError::Invalid => StoreError::Invalid,
    })?;
    let width = width(&instruction).ok_or(StoreError::NotAStore)?;
    if instruction.op0_kind() != OpKind::Memory {
        return Err(StoreError::NotAStore);
    }
    if matches!(instruction.memory_segment(), Register::FS | Register::GS) {
        return Err(StoreError::Segment);
    }
    let value = source(&instruction, registers).ok_or(StoreError::NotAStore)?;
    let address = instruction
        .virtual_address(0, 0, |register, _, _| address_part(register, registers))
        .ok_or(StoreError::NotAStore)?;
    let mask = u64::MAX >> (64 - 8 * u32::from(width));
    Ok(Store {
        width,
        value: value & mask,
        address,
        // An instruction has at most 15 bytes.
        length: instruction.len() as u8,
    })
}

/// Bytes that a `mov` of a general register or an immediate value moves.
fn width(instruction: &Instruction) -> Option<u8> {
    match instruction.code() {
        Code::Mov_rm8_r8 | Code::Mov_rm8_imm8 | Code::Mov_moffs8_AL => Some(1),
        Code::Mov_rm16_r16 | Code::Mov_rm16_imm16 | Code::Mov_moffs16_AX => Some(2),
        Code::Mov_rm32_r32 | Code::Mov_rm32_imm32 | Code::Mov_moffs32_EAX => Some(4),
        Code::Mov_rm64_r64 | Code::Mov_rm64_imm32 | Code::Mov_moffs64_RAX => Some(8),
        _ => None,
    }
}

/// The stored value, with whatever is above its width.
fn source(instruction: &Instruction, registers: &Registers) -> Option<u64> {
    match instruction.op1_kind() {
        OpKind::Register => general(instruction.op1_register(), registers),
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate32to64 => instruction.try_immediate(1).ok(),
        _ => None,
    }
}

/// What a register adds to an address: its value, or 0 for a segment, which are flat in 64-bit
/// code.
fn address_part(register: Register, registers: &Registers) -> Option<u64> {
    match register {
        Register::ES | Register::CS | Register::SS | Register::DS => Some(0),
        _ => general(register, registers),
    }
}

/// The value of a general register or a part of it.
fn general(register: Register, registers: &Registers) -> Option<u64> {
    // The decoder numbers the registers of one size in the order of their encoding.
    let value = |first: Register, last: Register, number_of_first: u8| {
        if register < first || register > last {
            return None;
        }
        value_of(registers, number_of_first + (register as u8 - first as u8))
    };
    if let Some(value) = value(Register::AH, Register::BH, 0) {
        return Some(value >> 8 & 0xff);
    }
    let byte = value(Register::AL, Register::BL, 0).or(value(Register::SPL, Register::R15L, 4));
    if let Some(value) = byte {
        return Some(value & 0xff);
    }
    if let Some(value) = value(Register::AX, Register::R15W, 0) {
        return Some(value & 0xffff);
    }
    if let Some(value) = value(Register::EAX, Register::R15D, 0) {
        return Some(value & 0xffff_ffff);
    }
    value(Register::RAX, Register::R15, 0)
}

/// The value of a general register by its number in instruction encodings (0 = RAX, 4 = RSP, 15 = R15).
fn value_of(registers: &Registers, number: u8) -> Option<u64> {
    let r = registers;
    let order = [
        r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15,
    ];
    order.get(usize::from(number)).copied()
}

#[cfg(test)]
mod tests;
