//! Reads and writes for other tasks.

use lucos_service::{AddressSpace, MemoryError};

use crate::PAGE;
use crate::map::GuestMap;
use crate::platform::Platform;
use crate::translate::{self, Piece, Purpose};

/// Fills `to` from a guest-virtual address on.
///
/// # Errors
/// [`MemoryError`]
pub fn read(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    address: u64,
    to: &mut [u8],
) -> Result<(), MemoryError> {
    let mut rest = to;
    for piece in translate::pieces(platform, map, space, address, rest.len(), Purpose::Read)? {
        let (part, behind) = rest.split_at_mut_checked(piece.length).ok_or(MemoryError::TooLong)?;
        read_physical(platform, piece.gpa, part)?;
        rest = behind;
    }
    Ok(())
}

/// Fills `to` with code from a guest-virtual address on, as far as it is mapped, and returns how
/// many bytes that is: at least one.
///
/// # Errors
/// [`MemoryError`] when not even the first byte can be read.
pub fn fetch(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    address: u64,
    to: &mut [u8],
) -> Result<usize, MemoryError> {
    match read(platform, map, space, address, to) {
        Ok(()) => Ok(to.len()),
        Err(error) => {
            let on_first_page = (PAGE - address % PAGE) as usize;
            let part = to.get_mut(..on_first_page).filter(|part| !part.is_empty()).ok_or(error)?;
            read(platform, map, space, address, part)?;
            Ok(on_first_page)
        }
    }
}

/// Writes `data` at a guest-virtual address, all or nothing. Pages that the guest itself cannot
/// write are refused.
///
/// # Errors
/// [`MemoryError`]
pub fn write(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    address: u64,
    data: &[u8],
) -> Result<(), MemoryError> {
    let pieces = translate::pieces(platform, map, space, address, data.len(), Purpose::Write)?;
    write_pieces(platform, &pieces, data)
}

/// Writes data to its pieces.
///
/// # Errors
/// [`MemoryError`]; some of the first pieces may be written.
pub(crate) fn write_pieces(
    platform: &mut impl Platform,
    pieces: &[Piece],
    data: &[u8],
) -> Result<(), MemoryError> {
    let mut rest = data;
    for piece in pieces {
        let (part, behind) = rest.split_at_checked(piece.length).ok_or(MemoryError::TooLong)?;
        write_physical(platform, piece.gpa, part)?;
        rest = behind;
    }
    Ok(())
}

/// Fills `to` from a guest-physical address on.
///
/// # Errors
/// [`MemoryError::NotRam`]
pub fn read_physical(
    platform: &mut impl Platform,
    gpa: u64,
    to: &mut [u8],
) -> Result<(), MemoryError> {
    platform.read(gpa, to).map_err(|gpa| MemoryError::NotRam { gpa })
}

/// Writes `data` at a guest-physical address, all or nothing.
///
/// # Errors
/// [`MemoryError::NotRam`]
pub fn write_physical(
    platform: &mut impl Platform,
    gpa: u64,
    data: &[u8],
) -> Result<(), MemoryError> {
    platform.write(gpa, data).map_err(|refused| refused.at(gpa))
}

#[cfg(test)]
mod tests {
    use super::{fetch, read, write};
    use crate::fake::{self, AREA, Fake, HIGH, REGION};
    use lucos_service::MemoryError;

    #[test]
    fn a_range_over_two_pages_is_read_and_written_through_both() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        let space = machine.address_space();
        machine.map_page(0x7000, 0x5_0000, true);
        machine.map_page(0x8000, 0x2_0000, true);
        write(&mut machine, &map, space, 0x7ffe, &[1, 2, 3, 4]).unwrap();
        assert_eq!(machine.bytes(0x5_0ffe, 2), [1, 2]);
        assert_eq!(machine.bytes(0x2_0000, 2), [3, 4]);
        let mut back = [0; 4];
        read(&mut machine, &map, space, 0x7ffe, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3, 4]);
    }

    #[test]
    fn nothing_is_written_when_a_part_cannot_be() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        let space = machine.address_space();
        machine.map_page(0x7000, 0x5_0000, true);
        let before = machine.ram().clone();
        let missing = MemoryError::NotMapped { address: 0x8000 };
        let result = write(&mut machine, &map, space, 0x7ffe, &[1, 2, 3, 4]);
        assert_eq!(result, Err(missing));
        machine.map_page(0x8000, REGION, true);
        let tables = machine.ram().clone();
        assert_eq!(
            write(&mut machine, &map, space, 0x7ffe, &[1, 2, 3, 4]),
            Err(MemoryError::NotRam { gpa: REGION })
        );
        assert_eq!(*machine.ram(), tables);
        assert_ne!(before, tables, "only the page tables differ");
    }

    #[test]
    fn read_only_pages_are_not_written() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        let space = machine.address_space();
        machine.map_page(0x7000, 0x5_0000, false);
        assert_eq!(
            write(&mut machine, &map, space, 0x7010, &[1]),
            Err(MemoryError::ReadOnly { address: 0x7010 })
        );
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        let space = machine.address_space();
        let mut refused =
            |address| read(&mut machine, &map, space, address, &mut [0; 16]).unwrap_err();
        assert_eq!(refused(u64::MAX - 7), MemoryError::BadAddress);
        assert_eq!(refused(1 << 47), MemoryError::BadAddress);
        assert_eq!(refused(0x7000), MemoryError::NotMapped { address: 0x7000 });
    }

    #[test]
    fn page_tables_and_data_outside_the_guests_memory_are_refused() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        let mut space = machine.address_space();
        machine.map_page(0x7000, REGION + 0x1000, true);
        machine.map_page(0x8000, AREA, true);
        machine.map_page(0x9000, HIGH, true);
        let read_at =
            |machine: &mut Fake, space, address| read(machine, &map, space, address, &mut [0; 8]);
        assert_eq!(
            read_at(&mut machine, space, 0x7000),
            Err(MemoryError::NotRam { gpa: REGION + 0x1000 })
        );
        assert_eq!(read_at(&mut machine, space, 0x8000), Ok(()));
        space.root = REGION;
        assert_eq!(read_at(&mut machine, space, 0x8000), Err(MemoryError::NotRam { gpa: REGION }));
    }

    #[test]
    fn code_is_fetched_up_to_the_first_missing_page() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = Fake::new();
        let space = machine.address_space();
        machine.map_page(0x7000, 0x5_0000, false);
        let mut code = [0; 15];
        let mut fetched =
            |address, code: &mut [u8]| fetch(&mut machine, &map, space, address, code);
        assert_eq!(fetched(0x7000, &mut code), Ok(15));
        assert_eq!(fetched(0x7ffd, &mut code), Ok(3));
        assert_eq!(fetched(0x8000, &mut code), Err(MemoryError::NotMapped { address: 0x8000 }));
    }
}
