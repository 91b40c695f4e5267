//! Where the branches of a piece of code go.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// The target of a direct branch or call (`jmp`, `jcc`, `loop`, `jrcxz`, `call`, `xbegin`); `None`
/// for every other instruction.
pub(crate) fn target(instruction: &Instruction) -> Option<u64> {
    match instruction.op0_kind() {
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            Some(instruction.near_branch_target())
        }
        _ => None,
    }
}

/// Whether control never goes on behind an instruction of this code, so that what follows may be
/// filling.
pub(crate) fn ends_flow(code: Code) -> bool {
    matches!(
        code.mnemonic(),
        Mnemonic::Jmp
            | Mnemonic::Ret
            | Mnemonic::Retf
            | Mnemonic::Iretq
            | Mnemonic::Sysretq
            | Mnemonic::Sysexitq
            | Mnemonic::Ud0
            | Mnemonic::Ud1
            | Mnemonic::Ud2
            | Mnemonic::Int3
    )
}

/// A memory operand that can be a place in a table of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `[displacement + index * 8]`: a table at a fixed address.
    Table(u64),
    /// `[base + index * 8]` or `[base + index * 4]`: a table whose address is in a register.
    Computed,
    /// Something else.
    Other,
}

/// What the memory operand of `instruction` can be.
pub(crate) fn place(instruction: &Instruction) -> Place {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    let scale = instruction.memory_index_scale();
    match (base, index, scale) {
        (_, Register::None, _) => Place::Other,
        (Register::None, _, 8) => Place::Table(instruction.memory_displacement64()),
        (_, _, 4 | 8) => Place::Computed,
        _ => Place::Other,
    }
}

/// How an instruction takes part in a jump through a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableUse {
    /// `jmp` through memory.
    Jump(Place),
    /// `jmp` to the address in a register.
    JumpTo(Register),
    /// Loads an address (or a signed distance, for `movsxd`) into a register.
    Load(Place, Register),
}

/// How `instruction` takes part in a jump through a table, if it does.
pub(crate) fn table_use(instruction: &Instruction) -> Option<TableUse> {
    match instruction.code() {
        Code::Jmp_rm64 if instruction.op0_kind() == OpKind::Register => {
            Some(TableUse::JumpTo(instruction.op0_register()))
        }
        Code::Jmp_rm64 => Some(TableUse::Jump(place(instruction))),
        Code::Mov_r64_rm64 | Code::Movsxd_r64_rm32 if instruction.op1_kind() == OpKind::Memory => {
            Some(TableUse::Load(place(instruction), instruction.op0_register()))
        }
        _ => None,
    }
}

/// Every target that a branch could have if it started at any byte of `code`, which stands at
/// `address`. For code whose instruction boundaries are not known.
pub(crate) fn possible_targets(code: &[u8], address: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    (0..code.len()).filter_map(move |offset| {
        let rest = code.get(offset..)?;
        let from = address.wrapping_add(offset as u64);
        let (length, distance) = match *rest {
            [0xeb | 0x70..=0x7f | 0xe0..=0xe3, distance, ..] => {
                (2, i64::from(distance.cast_signed()))
            }
            [0xe8 | 0xe9, a, b, c, d, ..] => (5, i64::from(i32::from_le_bytes([a, b, c, d]))),
            [0x0f, 0x80..=0x8f, a, b, c, d, ..] | [0xc7, 0xf8, a, b, c, d, ..] => {
                (6, i64::from(i32::from_le_bytes([a, b, c, d])))
            }
            _ => return None,
        };
        Some((from, from.wrapping_add(length).wrapping_add_signed(distance)))
    })
}
