//! What the guest may do where.
//!
//! The guest's physical addresses are the machine's own. At the start everything up to 1 TiB is
//! given to it, or less when the page tables for that do not fit; further blocks (device memory that
//! firmware has put far up) follow when the guest first touches them. LUCOS's own memory shows a
//! page of ones, which the kernel takes care of.

use lucos_service::{FaultVerdict, MemoryError};

use crate::PAGE;
use crate::guards;
use crate::map::{GuestMap, page_of};
use crate::platform::{Platform, Refused, Rights};

/// At most this much is mapped at the start: 1 TiB, as a power of two.
const START_MOST: u32 = 40;
/// At least the first 4 GiB are: memory, APICs, 32-bit device memory.
const START_LEAST: u32 = 32;
/// What is mapped later comes in blocks of this size, or of the second when page tables are scarce.
const BLOCKS: [u64; 2] = [1 << 30, 2 << 20];

/// Maps the guest's address space, unless that was done before a restart. Returns how much was
/// mapped, as a power of two.
///
/// # Errors
/// Not even the smallest possible space could be mapped.
pub fn start(platform: &mut impl Platform, map: &GuestMap<'_>) -> Result<u32, Refused> {
    if let Some(power) = guards::mapped(platform) {
        return Ok(power);
    }
    let most = map.end().trailing_zeros().min(START_MOST);
    let memory = map.ram_end().next_power_of_two().trailing_zeros();
    let least = START_LEAST.max(memory).min(most);
    let mut refused = Refused::Failed;
    for power in (least..=most).rev() {
        match platform.set(0, 1 << power, Rights::All) {
            Ok(()) => {
                guards::set_mapped(platform, power)?;
                return Ok(power);
            }
            Err(why) => refused = why,
        }
    }
    Err(refused)
}

/// Guards the page with this address, or ends that.
///
/// # Errors
/// [`MemoryError`]
pub fn guard(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    gpa: u64,
    on: bool,
) -> Result<(), MemoryError> {
    let page = page_of(gpa);
    map.check(page, PAGE)?;
    // The list names a page whenever its rights are less than all: the note comes before the
    // change, and goes after it.
    if on {
        guards::add(platform, page)?;
        let set = platform.set(page, PAGE, Rights::ReadExecute);
        if set.is_err() {
            // Either nothing changed, or a processor may still write there because it is late: then
            // all may. Giving rights back takes no memory and waits for nobody.
            let _ = platform.set(page, PAGE, Rights::All);
            let _ = guards::remove(platform, page);
        }
        return set.map_err(|refused| refused.at(page));
    }
    if !guards::contains(platform, page) {
        return Ok(());
    }
    platform
        .set(page, PAGE, Rights::All)
        .and_then(|()| guards::remove(platform, page))
        .map_err(|refused| refused.at(page))
}

/// What a fault means; mends what can be mended.
///
/// # Errors
/// The address could be mapped, but there is no room for page tables.
pub fn fault(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    gpa: u64,
    write: bool,
    execute: bool,
) -> Result<FaultVerdict, MemoryError> {
    if gpa >= map.end() {
        return Ok(FaultVerdict::Outside);
    }
    if map.is_hidden(gpa) {
        if write || execute {
            guards::count_hidden_access(platform);
            return Ok(FaultVerdict::Hidden);
        }
        // Reads are allowed: the hidden page was not there yet.
        let shown = platform.set(page_of(gpa), PAGE, Rights::All);
        return shown.map(|()| FaultVerdict::Mended).map_err(|refused| refused.at(gpa));
    }
    if guards::contains(platform, page_of(gpa)) {
        return match write {
            true => Ok(FaultVerdict::Guarded),
            // Only writes are held up; another processor may be between two changes.
            false => Ok(FaultVerdict::Mended),
        };
    }
    let mapped = guards::mapped(platform).unwrap_or(0);
    if gpa >> mapped == 0 {
        // A guard went away between the access and this look at it.
        return Ok(FaultVerdict::Mended);
    }
    let mut refused = Refused::Failed;
    for size in BLOCKS {
        let start = gpa & !(size - 1);
        match platform.set(start, size, Rights::All) {
            Ok(()) => {
                guard_again(platform, start, size)?;
                return Ok(FaultVerdict::Mended);
            }
            Err(why) => refused = why,
        }
    }
    Err(refused.at(gpa))
}

/// Takes the rights on guarded pages away that mapping a block around them gave.
fn guard_again(platform: &mut impl Platform, start: u64, size: u64) -> Result<(), MemoryError> {
    for number in 0..guards::MAX_GUARDS {
        let Some(page) = guards::all(platform).nth(number) else {
            return Ok(());
        };
        if start <= page && page - start < size {
            platform.set(page, PAGE, Rights::ReadExecute).map_err(|refused| refused.at(page))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{fault, guard, start};
    use crate::fake::{self, AREA, Fake, HIGH, REGION};
    use crate::platform::{Refused, Rights};
    use lucos_service::{FaultVerdict, MemoryError};

    const TIB: u64 = 1 << 40;

    #[test]
    fn everything_up_to_1_tib_is_mapped_once() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        assert_eq!(start(&mut machine, &map), Ok(40));
        assert_eq!(machine.sets, [(0, TIB, Rights::All)]);
        assert_eq!(start(&mut machine, &map), Ok(40));
        assert_eq!(machine.sets.len(), 1, "not again after a restart");
    }

    #[test]
    fn less_is_mapped_when_page_tables_are_scarce_but_never_less_than_memory() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        machine.longest_set = 1 << 34;
        assert_eq!(start(&mut machine, &map), Ok(34));
        let mut machine = Fake::new();
        // Memory ends at HIGH + 1 GiB, below 8 GiB.
        machine.longest_set = 1 << 32;
        assert_eq!(start(&mut machine, &map), Err(Refused::NoRoom));
        assert_eq!(machine.refused_sets.last().map(|set| set.1), Some(1 << 33));
    }

    #[test]
    fn small_machines_are_mapped_to_their_end() {
        let mut info = fake::info();
        info.physical_bits = 36;
        let map = fake::map(&info);
        let mut machine = Fake::new();
        assert_eq!(start(&mut machine, &map), Ok(36));
        let verdict = fault(&mut machine, &map, 1 << 36, true, false);
        assert_eq!(verdict, Ok(FaultVerdict::Outside));
    }

    #[test]
    fn far_blocks_are_mapped_when_they_are_touched() {
        let mut info = fake::info();
        info.physical_bits = 48;
        let map = fake::map(&info);
        let mut machine = Fake::new();
        start(&mut machine, &map).unwrap();
        let device = 0x80_1234_5678_9000 >> 8;
        assert_eq!(fault(&mut machine, &map, device, true, false), Ok(FaultVerdict::Mended));
        let block = device & !((1 << 30) - 1);
        assert_eq!(machine.sets.last(), Some(&(block, 1 << 30, Rights::All)));

        machine.longest_set = 2 << 20;
        let other = device + TIB;
        fault(&mut machine, &map, other, true, false).unwrap();
        assert_eq!(machine.sets.last(), Some(&(other & !0x1f_ffff, 2 << 20, Rights::All)));

        machine.longest_set = 0;
        assert_eq!(
            fault(&mut machine, &map, device + 2 * TIB, true, false),
            Err(MemoryError::NoRoom)
        );
    }

    #[test]
    fn lucos_is_hidden_from_writes_and_fetches() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        start(&mut machine, &map).unwrap();
        let mut verdict = |gpa, write, execute| fault(&mut machine, &map, gpa, write, execute);
        assert_eq!(verdict(REGION, true, false), Ok(FaultVerdict::Hidden));
        assert_eq!(verdict(REGION + 0x7f_ffff, false, true), Ok(FaultVerdict::Hidden));
        assert_eq!(verdict(REGION, false, false), Ok(FaultVerdict::Mended));
        assert_eq!(verdict(AREA, true, false), Ok(FaultVerdict::Mended));
        assert_eq!(crate::guards::hidden_accesses(&machine), 2);
    }

    #[test]
    fn guarded_pages_are_read_only_until_they_are_released() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        start(&mut machine, &map).unwrap();
        guard(&mut machine, &map, AREA + 0x123, true).unwrap();
        assert_eq!(machine.sets.last(), Some(&(AREA, 0x1000, Rights::ReadExecute)));
        let write = |machine: &mut Fake| fault(machine, &map, AREA + 8, true, false);
        assert_eq!(write(&mut machine), Ok(FaultVerdict::Guarded));
        guard(&mut machine, &map, AREA, false).unwrap();
        assert_eq!(machine.sets.last(), Some(&(AREA, 0x1000, Rights::All)));
        assert_eq!(write(&mut machine), Ok(FaultVerdict::Mended));
    }

    #[test]
    fn only_the_guests_memory_can_be_guarded() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        for gpa in [REGION, map.end()] {
            assert_eq!(guard(&mut machine, &map, gpa, true), Err(MemoryError::NotRam { gpa }));
        }
        machine.longest_set = 0;
        assert_eq!(guard(&mut machine, &map, HIGH, true), Err(MemoryError::NoRoom));
        assert_eq!(crate::guards::all(&machine).count(), 0);
    }
}
