//! Instructions of the virtualization extension, which is switched off for the guest.

use crate::exit::Outcome;

/// They are invalid opcodes.
pub fn handle() -> Outcome {
    Outcome::INVALID_OPCODE
}
