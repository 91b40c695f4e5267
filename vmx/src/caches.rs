//! INVD, which throws away what was written and is not in memory yet: LUCOS's own data as well.

use crate::instruction::behind;
use crate::outcome::{Exit, Outcome};
use crate::platform::Platform;

/// The caches are written back first, as by WBINVD.
pub fn handle(platform: &mut impl Platform, exit: &Exit) -> Outcome {
    let Some(registers) = behind(platform, exit) else {
        return Outcome::GENERAL_PROTECTION;
    };
    match platform.write_back_caches() {
        Ok(()) => Outcome::Resume(registers),
        Err(_) => Outcome::GENERAL_PROTECTION,
    }
}
