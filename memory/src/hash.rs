//! SHA-256 of everything that the guest owns, and of what it may not do with it.

use lucos_service::MemoryError;
use sha2::{Digest, Sha256};

use crate::PAGE;
use crate::guards::{self, Guard};
use crate::map::GuestMap;
use crate::platform::Platform;

/// Hashes the guest's memory in the order of addresses, whole pages only, and the list of guarded pages.
///
/// # Errors
/// [`MemoryError::NotRam`] when some of it cannot be read.
pub fn of_guest(platform: &mut impl Platform, map: &GuestMap<'_>) -> Result<[u8; 32], MemoryError> {
    let mut hash = Sha256::new();
    let mut page = [0; PAGE as usize];
    for range in map.owned() {
        let end = range.end() & !(PAGE - 1);
        let mut gpa = range.start.next_multiple_of(PAGE);
        while gpa < end {
            platform.read(gpa, &mut page).map_err(|gpa| MemoryError::NotRam { gpa })?;
            hash.update(page);
            gpa += PAGE;
        }
    }
    for Guard { page, kinds } in guards::all(platform) {
        hash.update(page.to_le_bytes());
        hash.update([kinds.number()]);
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::of_guest;
    use crate::fake::{self, AREA, Fake};
    use crate::guards;
    use crate::platform::Platform;
    use lucos_service::GuardKind;
    use lucos_system_info::{MemoryKind, MemoryRange};
    use sha2::{Digest, Sha256};

    #[test]
    fn every_byte_that_the_guest_owns_counts() {
        let mut info = fake::info();
        let range = |start, length, kind| MemoryRange { start, length, kind };
        info.memory = [
            range(0, 0x3000, MemoryKind::Ram),
            range(0x4000, 0x1000, MemoryKind::Reserved),
            range(AREA, 0x1000, MemoryKind::AcpiNvs),
        ]
        .into_iter()
        .collect();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        let before = of_guest(&mut machine, &map).unwrap();
        assert_eq!(before[..], Sha256::digest([0; 0x4000])[..]);
        for gpa in [0, 0x2fff, AREA, AREA + 0xfff] {
            machine.write(gpa, &[1]).unwrap();
            assert_ne!(of_guest(&mut machine, &map).unwrap(), before);
            machine.write(gpa, &[0]).unwrap();
        }
        machine.write(0x4000, &[1]).unwrap();
        assert_eq!(of_guest(&mut machine, &map).unwrap(), before);
        guards::add(&mut machine, &[0x1000], GuardKind::Carried).unwrap();
        let carried = of_guest(&mut machine, &map).unwrap();
        guards::add(&mut machine, &[0x1000], GuardKind::Sealed).unwrap();
        let both = of_guest(&mut machine, &map).unwrap();
        assert!(before != carried && carried != both);
        guards::remove(&mut machine, &[0x1000], GuardKind::Carried).unwrap();
        guards::remove(&mut machine, &[0x1000], GuardKind::Sealed).unwrap();
        assert_eq!(of_guest(&mut machine, &map).unwrap(), before);
    }
}
