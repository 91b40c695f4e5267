//! What becomes of a patch with data of which the sides differ: it is withdrawn, without waiting for
//! anybody.

use lucos_data_versions::state::Code;
use lucos_guest_interface::Fault;
use lucos_guest_interface::call::Cause;
use lucos_transaction::{Engine, PatchState, Store};

use crate::coherence::Torn;
use crate::guest::Guest;
use crate::platform::Platform;
use crate::withdraw;

/// Leaves the data of a patch to old code, and takes the patch out of force.
///
/// # Errors
/// Those of [`withdraw::take`] and [`Engine::drained`]: the next call tries again.
pub fn take_back<S: Store, P: Platform>(
    engine: &mut Engine<S>,
    guest: &mut Guest<'_, P>,
    torn: Torn,
) -> Result<(), Fault> {
    guest.recover(engine)?;
    let number = torn.id.patch;
    let patch = engine.all_patches().iter().find(|patch| patch.number == number);
    match patch.map(|patch| patch.state) {
        Some(PatchState::Applied) => {
            withdraw::take(engine, guest, number, Cause::Transfer)?;
        }
        // Its code is off.
        Some(PatchState::RolledBack) => engine.drained(guest, number, Code::New)?,
        _ => {}
    }
    guest.forget_torn(torn);
    Ok(())
}

impl<P: Platform> Guest<'_, P> {
    /// Whether sides of the data of a patch differ.
    pub fn torn_of(&mut self, patch: u32) -> Option<Torn> {
        let state = self.coherence.lock(self.platform);
        state.torn.iter().copied().find(|torn| torn.id.patch == patch)
    }

    fn forget_torn(&mut self, torn: Torn) {
        self.coherence.lock(self.platform).torn.retain(|other| *other != torn);
    }
}
