//! A hypercall's arguments and its answer.

use lucos_guest_interface::{ErrorCode, Fault};
use lucos_transaction::journal::Presence;
use lucos_transaction::{Engine, Store};

/// Registers of a hypercall: RBX, RCX, RDX, RSI.
pub type Arguments = [u64; 4];

/// The answer to a hypercall that worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// RAX, not negative.
    pub rax: u64,
    /// RBX, RCX, RDX; `None` for a register that keeps its value.
    pub results: [Option<u64>; 3],
}

impl Answer {
    /// Done, with this in RBX.
    pub const fn rbx(value: u64) -> Self {
        Self { rax: 0, results: [Some(value), None, None] }
    }
}

/// Checks that a manager is registered and that the caller is it.
///
/// # Errors
/// `NotRegistered`, `Nonce`
pub fn check_nonce<S: Store>(engine: &Engine<S>, nonce: u64) -> Result<(), Fault> {
    let head = engine.head();
    if head.presence != Presence::Manager {
        return Err(Fault::new(ErrorCode::NotRegistered, 0));
    }
    if head.registration.nonce != nonce {
        return Err(Fault::new(ErrorCode::Nonce, 0));
    }
    Ok(())
}
