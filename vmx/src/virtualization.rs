//! Instructions of the virtualization extension, which is switched off for the guest.

use crate::outcome::Outcome;

/// They are invalid opcodes.
pub fn handle() -> Outcome {
    Outcome::INVALID_OPCODE
}
