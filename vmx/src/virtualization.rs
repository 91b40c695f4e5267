//! Instructions of the virtualization extension, which the guest's CPUID does not have.

use crate::exit::Outcome;

/// They are invalid opcodes.
pub fn handle() -> Outcome {
    Outcome::INVALID_OPCODE
}
