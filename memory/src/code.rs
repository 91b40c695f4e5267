//! Comparing and writing code at several places.

use heapless::Vec;
use lucos_service::places::{Difference, PLACES_MAX, Place, PlaceError, decode};
use lucos_service::{AddressSpace, MemoryError};

use crate::access::{read_physical, write_pieces};
use crate::map::GuestMap;
use crate::platform::Platform;
use crate::translate::{PIECES, Piece, Purpose, pieces};

/// Compares what is at places of `payload` with what should be there.
///
/// # Errors
/// [`PlaceError`]
pub fn compare(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    payload: &[u8],
) -> Result<Option<Difference>, PlaceError<MemoryError>> {
    for (place, Place { address, bytes }) in numbered(payload)? {
        let failed = |error| PlaceError { place, error };
        let pieces = pieces(platform, map, space, address, bytes.len(), Purpose::Read);
        let mut expected = bytes;
        for piece in pieces.map_err(failed)? {
            let mut now = [0; lucos_service::places::PLACE_MAX];
            let too_long = failed(MemoryError::TooLong);
            let now = now.get_mut(..piece.length).ok_or(too_long)?;
            read_physical(platform, piece.gpa, now).map_err(failed)?;
            let (part, behind) = expected.split_at_checked(piece.length).ok_or(too_long)?;
            if let Some(at) = now.iter().zip(part).position(|(now, then)| now != then) {
                let offset = bytes.len() - expected.len() + at;
                return Ok(Some(Difference { place, offset }));
            }
            expected = behind;
        }
    }
    Ok(None)
}

/// Writes the places of `payload`, whether or not the guest may write there. Nothing is written
/// unless all of it can be.
///
/// # Errors
/// [`PlaceError`]
pub fn write(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    payload: &[u8],
) -> Result<(), PlaceError<MemoryError>> {
    let mut targets = Vec::<Vec<Piece, PIECES>, PLACES_MAX>::new();
    for (place, Place { address, bytes }) in numbered(payload)? {
        let failed = |error| PlaceError { place, error };
        let pieces = pieces(platform, map, space, address, bytes.len(), Purpose::WriteText);
        targets.push(pieces.map_err(failed)?).map_err(|_| failed(MemoryError::TooLong))?;
    }
    for ((place, Place { bytes, .. }), pieces) in numbered(payload)?.zip(&targets) {
        write_pieces(platform, pieces, bytes).map_err(|error| PlaceError { place, error })?;
    }
    Ok(())
}

fn numbered(
    payload: &[u8],
) -> Result<impl Iterator<Item = (usize, Place<'_>)>, PlaceError<MemoryError>> {
    let malformed = PlaceError { place: 0, error: MemoryError::TooLong };
    Ok((0..).zip(decode(payload).ok_or(malformed)?))
}

#[cfg(test)]
mod tests {
    use super::{compare, write};
    use crate::fake::{self, Fake, REGION};
    use lucos_service::MemoryError;
    use lucos_service::places::{Difference, Payload, Place, PlaceError, push};

    /// Two pages that the guest may not write, apart from each other.
    fn machine() -> Fake {
        let mut machine = Fake::new();
        machine.map_page(0x7000, 0x5_0000, false);
        machine.map_page(0x8000, 0x2_0000, false);
        machine
    }

    fn payload(places: &[(u64, &[u8])]) -> Vec<u8> {
        let mut payload = Payload::new();
        for &(address, bytes) in places {
            push(&mut payload, Place { address, bytes }).unwrap();
        }
        payload.to_vec()
    }

    #[test]
    fn what_is_written_compares_equal_and_the_first_other_byte_is_told() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = machine();
        let space = machine.address_space();
        let code = payload(&[(0x7010, &[1, 2]), (0x7ffe, &[3, 4, 5, 6]), (0x8100, &[7])]);
        let different = compare(&mut machine, &map, space, &code);
        assert_eq!(different, Ok(Some(Difference { place: 0, offset: 0 })));
        write(&mut machine, &map, space, &code).unwrap();
        assert_eq!(machine.bytes(0x5_0010, 2), [1, 2]);
        assert_eq!(machine.bytes(0x5_0ffe, 2), [3, 4]);
        assert_eq!(machine.bytes(0x2_0000, 2), [5, 6]);
        assert_eq!(machine.bytes(0x2_0100, 1), [7]);
        assert_eq!(compare(&mut machine, &map, space, &code), Ok(None));
        for (place, offset, byte) in [(1, 1, 0x7fff), (1, 3, 0x8001), (2, 0, 0x8100)] {
            let before = code.clone();
            let wrong = payload(&[(byte, &[0xee])]);
            write(&mut machine, &map, space, &wrong).unwrap();
            let different = compare(&mut machine, &map, space, &code);
            assert_eq!(different, Ok(Some(Difference { place, offset })));
            write(&mut machine, &map, space, &before).unwrap();
        }
    }

    #[test]
    fn nothing_is_written_when_one_place_cannot_be() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = machine();
        let space = machine.address_space();
        machine.map_page(0x9000, REGION, true);
        let before = machine.ram().clone();
        for (address, error) in [
            (0xa000, MemoryError::NotMapped { address: 0xa000 }),
            (0x9010, MemoryError::NotRam { gpa: REGION + 0x10 }),
            (1 << 47, MemoryError::BadAddress),
        ] {
            let code = payload(&[(0x7010, &[1, 2]), (address, &[3]), (0x8000, &[4])]);
            let result = write(&mut machine, &map, space, &code);
            assert_eq!(result, Err(PlaceError { place: 1, error }));
            assert_eq!(*machine.ram(), before);
        }
    }

    #[test]
    fn bytes_that_are_no_places_are_refused() {
        let info = fake::info();
        let map = fake::map(&info);
        let mut machine = machine();
        let space = machine.address_space();
        let error = Err(PlaceError { place: 0, error: MemoryError::TooLong });
        let whole = payload(&[(0x7010, &[1, 2])]);
        for length in 1..whole.len() {
            assert_eq!(write(&mut machine, &map, space, &whole[..length]), error);
        }
        assert_eq!(write(&mut machine, &map, space, &[]), Ok(()));
    }
}
