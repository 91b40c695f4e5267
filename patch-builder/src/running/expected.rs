//! The bytes that must stand where a function is redirected.
//!
//! They come from the kernel's file; what its boot code or a loader rewrites does not count.

use iced_x86::Instruction;

use super::code::Running;
use super::found::Match;
use super::instructions::{branch_target, decode};
use super::object_code::Code;

/// Most bytes that a patch can name.
const LIMIT: usize = 16;
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// The call of the tracer, which is a NOP after boot.
const SLOT: u64 = 5;

/// Bytes at a site and which of their bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// How many.
    pub length: usize,
    /// The bytes.
    pub bytes: [u8; LIMIT],
    /// 0xff where a byte counts.
    pub mask: [u8; LIMIT],
}

/// What stands at the site of a function. `None` when the site is not certain: the function is
/// redirected elsewhere when its first instruction is a branch's target or is rewritten.
#[must_use]
pub fn at_site(code: &Code, found: &Match, running: &dyn Running) -> Option<Expected> {
    let start = site(code);
    let instructions = decode(&code.bytes, 0, usize::MAX);
    let is_target = instructions.iter().any(|one| {
        branch_target(one) == Some(start)
            && !code.fields.range(one.ip()..one.next_ip()).any(|_| true)
    });
    let rewritten_here =
        code.rewritten.iter().any(|(at, length)| *at <= start && start < at + (*length).max(1));
    if is_target || rewritten_here {
        return None;
    }
    // Up to the first instruction that has another length or none in the code that runs.
    let running_bytes = running.bytes_at(found.address)?.get(usize::try_from(start).ok()?..)?;
    let available = code.bytes.len().checked_sub(usize::try_from(start).ok()?)?;
    let length = available.min(LIMIT).min(running_bytes.len());
    let mut expected = Expected { length, bytes: [0; LIMIT], mask: [0; LIMIT] };
    for (index, (byte, mask)) in
        expected.bytes.iter_mut().zip(&mut expected.mask).take(length).enumerate()
    {
        let offset = start + index as u64;
        if !may_differ(code, &instructions, offset) {
            *byte = *running_bytes.get(index)?;
            *mask = 0xff;
        }
    }
    (expected.mask != [0; LIMIT]).then_some(expected)
}

/// Behind the ENDBR and the tracer's call, if there are any.
fn site(code: &Code) -> u64 {
    let endbr = if code.bytes.starts_with(&ENDBR64) { ENDBR64.len() as u64 } else { 0 };
    let is_slot = code.fields.get(&(endbr + 1)).is_some_and(|field| field.symbol == "__fentry__");
    if is_slot { endbr + SLOT } else { endbr }
}

fn may_differ(code: &Code, instructions: &[Instruction], offset: u64) -> bool {
    let table = code.rewritten.iter().any(|(at, length)| match length {
        // The place may be that of a constant in the instruction.
        0 => instructions.iter().any(|one| covers(one, *at) && covers(one, offset)),
        length => (*at..at + length).contains(&offset),
    });
    let Some(one) = instructions.iter().find(|one| covers(one, offset)) else {
        return true;
    };
    // Direct branches may be shorter in the code that runs, and then all behind has moved; calls
    // of thunks and of static calls are rewritten as a whole.
    let is_branch = branch_target(one).is_some();
    let has_field = code.fields.range(one.ip()..one.next_ip()).next();
    table
        || code.neighbours.contains_key(&one.ip())
        || (is_branch && has_field.is_some())
        || has_field.is_some_and(|(at, _)| offset >= *at && offset < at + 8)
}

fn covers(one: &Instruction, offset: u64) -> bool {
    (one.ip()..one.next_ip()).contains(&offset)
}
