//! What this task must not forget when it is restarted, in retained memory: the guarded pages, how
//! far the guest's address space is mapped, and how often the guest touched hidden memory.

use lucos_service::MemoryError;

use crate::platform::{Platform, Refused};

/// Most pages that can be guarded at once.
pub const MAX_GUARDS: usize = 64;

/// Offset of the byte that says how far the address space was mapped: 0 for not at all, else the
/// power of two.
const MAPPED: usize = 0;
/// Offset of the number of accesses to hidden memory, eight bytes.
const HIDDEN_ACCESSES: usize = 8;
/// Offset of the first slot. A slot is a page's address and a byte that says whether it counts; the
/// byte is written last.
const SLOTS: usize = 64;
const SLOT: usize = 16;
const SLOT_USED: usize = 8;

/// Bytes of retained memory that the list takes.
pub const LENGTH: usize = SLOTS + MAX_GUARDS * SLOT;

/// The power of two up to which the guest's address space was mapped; `None` when it was not.
pub fn mapped(platform: &impl Platform) -> Option<u32> {
    let mut byte = [0];
    platform.recall(MAPPED, &mut byte);
    let [power] = byte;
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
    let mut count = [0; 8];
    platform.recall(HIDDEN_ACCESSES, &mut count);
    u64::from_le_bytes(count)
}

/// Counts one more.
pub fn count_hidden_access(platform: &mut impl Platform) {
    let count = hidden_accesses(platform).saturating_add(1);
    // Without retained memory nothing is counted, which harms nobody.
    let _ = platform.retain(HIDDEN_ACCESSES, &count.to_le_bytes());
}

/// All guarded pages.
pub fn all(platform: &impl Platform) -> impl Iterator<Item = u64> {
    (0..MAX_GUARDS).filter_map(|number| slot(platform, number))
}

/// Whether this page is guarded.
pub fn contains(platform: &impl Platform, page: u64) -> bool {
    all(platform).any(|guarded| guarded == page)
}

/// Adds a page; nothing changes when it is in the list.
///
/// # Errors
/// [`MemoryError::NoMoreGuards`]: the list is full.
pub fn add(platform: &mut impl Platform, page: u64) -> Result<(), MemoryError> {
    if contains(platform, page) {
        return Ok(());
    }
    let free = (0..MAX_GUARDS).find(|&number| slot(platform, number).is_none());
    let at = SLOTS + free.ok_or(MemoryError::NoMoreGuards)? * SLOT;
    let noted = platform.retain(at, &page.to_le_bytes());
    let noted = noted.and_then(|()| platform.retain(at + SLOT_USED, &[1]));
    noted.map_err(|refused| refused.at(page))
}

/// Removes a page if it is in the list.
///
/// # Errors
/// There is no retained memory.
pub fn remove(platform: &mut impl Platform, page: u64) -> Result<(), Refused> {
    for number in 0..MAX_GUARDS {
        if slot(platform, number) == Some(page) {
            platform.retain(SLOTS + number * SLOT + SLOT_USED, &[0])?;
        }
    }
    Ok(())
}

fn slot(platform: &impl Platform, number: usize) -> Option<u64> {
    let mut bytes = [0; SLOT];
    platform.recall(SLOTS + number * SLOT, &mut bytes);
    if bytes.get(SLOT_USED) != Some(&1) {
        return None;
    }
    bytes.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::{LENGTH, MAX_GUARDS, add, all, contains, mapped, remove, set_mapped};
    use crate::fake::Fake;
    use crate::platform::Refused;
    use lucos_service::MemoryError;

    #[test]
    fn pages_are_kept_once_and_the_list_has_an_end() {
        let mut machine = Fake::new();
        for number in 0..MAX_GUARDS as u64 {
            add(&mut machine, number << 12).unwrap();
            add(&mut machine, number << 12).unwrap();
        }
        assert_eq!(all(&machine).count(), MAX_GUARDS);
        assert_eq!(add(&mut machine, 1 << 40), Err(MemoryError::NoMoreGuards));
        remove(&mut machine, 5 << 12).unwrap();
        assert!(!contains(&machine, 5 << 12));
        add(&mut machine, 1 << 40).unwrap();
        assert!(contains(&machine, 1 << 40));
    }

    #[test]
    fn a_write_that_was_cut_off_leaves_the_list_as_it_was() {
        for cut in 0..9 {
            let mut machine = Fake::new();
            add(&mut machine, 0x1000).unwrap();
            machine.journal_writes_left = Some(cut);
            let _ = add(&mut machine, 0xffff_f000);
            machine.journal_writes_left = None;
            let pages: Vec<_> = all(&machine).collect();
            assert_eq!(pages, [0x1000], "cut after {cut} bytes");
        }
    }

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
