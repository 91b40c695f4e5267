//! Where the instructions of a section begin and end, and where branches lead.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};

/// An instruction, by offsets in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) branch: Option<Branch>,
    /// Nothing behind it is reached from it.
    pub(crate) is_last: bool,
}

/// A branch whose distance stands in the instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Where it leads, if no relocation says otherwise.
    pub(crate) target: u64,
    /// Where the distance stands.
    pub(crate) field: u64,
    /// Bytes of the distance.
    pub(crate) width: u64,
}

/// Decodes from `start` on; what is no instruction counts as one of one byte.
pub(crate) fn decode(code: &[u8], start: u64) -> Vec<Place> {
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut places = Vec::new();
    let mut offset = 0;
    while offset < code.len() {
        if decoder.set_position(offset).is_err() {
            break;
        }
        decoder.set_ip(start.wrapping_add(offset as u64));
        decoder.decode_out(&mut instruction);
        let from = start.wrapping_add(offset as u64);
        let length = if instruction.is_invalid() { 1 } else { instruction.len() };
        let branch = is_branch(&instruction).then(|| {
            let fields = decoder.get_constant_offsets(&instruction);
            Branch {
                target: instruction.near_branch_target(),
                field: from.wrapping_add(fields.immediate_offset() as u64),
                width: fields.immediate_size() as u64,
            }
        });
        let is_last = matches!(instruction.mnemonic(), Mnemonic::Jmp | Mnemonic::Ret);
        places.push(Place { start: from, end: from.wrapping_add(length as u64), branch, is_last });
        offset += length;
    }
    places
}

fn is_branch(instruction: &Instruction) -> bool {
    !instruction.is_invalid()
        && instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::NearBranch64
}

/// The instruction that an offset lies in, of instructions in order.
pub(crate) fn at(places: &[Place], offset: u64) -> Option<&Place> {
    let index = places.partition_point(|place| place.end <= offset);
    places.get(index).filter(|place| place.start <= offset)
}
