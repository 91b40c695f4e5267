//! What this task must not forget when it is restarted, and where that lies in retained memory.

use crate::guards;
use crate::platform::{Platform, Refused};

/// Offset of the byte that says how far the guest's address space was mapped: 0 for not at all, else
/// the power of two.
const MAPPED: usize = 0;
/// Offset of the byte that is 1 when the confined view shows the guest's memory.
pub const CONFINED: usize = 1;
/// Offset of the byte that says which half of the list of guards counts.
pub const GUARD_HALF: usize = 2;
/// Offset of the number of accesses to hidden memory, eight bytes.
const HIDDEN_ACCESSES: usize = 8;
/// Offset of the pages that are open in the confined view.
pub const OPEN: usize = 64;
/// Offset of the list of guards.
pub const GUARDS: usize = 256;

/// Bytes of retained memory that this task uses.
pub const LENGTH: usize = GUARDS + guards::LENGTH;

/// A byte.
pub fn byte(platform: &impl Platform, offset: usize) -> u8 {
    let mut byte = [0];
    platform.recall(offset, &mut byte);
    let [byte] = byte;
    byte
}

/// A number of eight bytes.
pub fn number(platform: &impl Platform, offset: usize) -> u64 {
    let mut bytes = [0; 8];
    platform.recall(offset, &mut bytes);
    u64::from_le_bytes(bytes)
}

/// The power of two up to which the guest's address space was mapped; `None` when it was not.
pub fn mapped(platform: &impl Platform) -> Option<u32> {
    let power = byte(platform, MAPPED);
    (power != 0 && power < 64).then_some(u32::from(power))
}

/// Notes that the guest's address space was mapped up to this power of two.
///
/// # Errors
/// There is no retained memory.
pub fn set_mapped(platform: &mut impl Platform, power: u32) -> Result<(), Refused> {
    let power = u8::try_from(power).map_err(|_| Refused::Failed)?;
    platform.retain(MAPPED, &[power])
}

/// How often the guest wrote to hidden memory, or executed there.
pub fn hidden_accesses(platform: &impl Platform) -> u64 {
    number(platform, HIDDEN_ACCESSES)
}

/// Counts one more.
pub fn count_hidden_access(platform: &mut impl Platform) {
    let count = hidden_accesses(platform).saturating_add(1);
    // Without retained memory nothing is counted, which harms nobody.
    let _ = platform.retain(HIDDEN_ACCESSES, &count.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::{LENGTH, mapped, set_mapped};
    use crate::fake::Fake;
    use crate::platform::Refused;

    #[test]
    fn how_far_is_mapped_is_kept() {
        let mut machine = Fake::new();
        assert_eq!(mapped(&machine), None);
        set_mapped(&mut machine, 40).unwrap();
        assert_eq!(mapped(&machine), Some(40));
        assert_eq!(set_mapped(&mut machine, 300), Err(Refused::Failed));
        assert!(machine.journal.len() >= LENGTH);
    }
}
