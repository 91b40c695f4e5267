//! Some bytes of code at each of several addresses, as one payload of a message.
//!
//! Each place is its address (8 bytes, little-endian), its length (one byte, at least 1), and its
//! bytes.

use lucos_abi::message::PAYLOAD_MAX;

/// Most places of a message.
pub const PLACES_MAX: usize = 64;
/// Most bytes of a place.
pub const PLACE_MAX: usize = 19;

const HEAD: usize = size_of::<u64>() + 1;

// All places of a message fit in its payload.
const _: () = assert!(PLACES_MAX * (HEAD + PLACE_MAX) <= PAYLOAD_MAX);

/// Some bytes at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The guest-virtual address.
    pub address: u64,
    /// The bytes, 1 to [`PLACE_MAX`].
    pub bytes: &'a [u8],
}

/// An error at one of several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceError<E> {
    /// Number of the place, from 0.
    pub place: usize,
    /// What it is.
    pub error: E,
}

/// A byte that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Number of the place, from 0.
    pub place: usize,
    /// The byte's number in it.
    pub offset: usize,
}

/// A payload that is being made.
pub type Payload = heapless::Vec<u8, PAYLOAD_MAX>;

/// Adds a place to a payload; `None`, and nothing is added, when it has too many bytes or none, or
/// when there is no room for it.
pub fn push(payload: &mut Payload, place: Place<'_>) -> Option<()> {
    let length = u8::try_from(place.bytes.len()).ok().filter(|&length| is_length(length))?;
    if payload.capacity() - payload.len() < HEAD + place.bytes.len() {
        return None;
    }
    payload.extend_from_slice(&place.address.to_le_bytes()).ok()?;
    payload.push(length).ok()?;
    payload.extend_from_slice(place.bytes).ok()
}

/// The places of a payload; `None` when it is not what [`push`] makes of at most
/// [`PLACES_MAX`] places.
pub fn decode(payload: &[u8]) -> Option<impl Iterator<Item = Place<'_>> + Clone> {
    let all = Places(payload);
    let mut rest = all.clone();
    let count = rest.by_ref().count();
    (rest.0.is_empty() && count <= PLACES_MAX).then_some(all)
}

/// The places up to the first one that is malformed.
#[derive(Clone)]
struct Places<'a>(&'a [u8]);

impl<'a> Iterator for Places<'a> {
    type Item = Place<'a>;

    fn next(&mut self) -> Option<Place<'a>> {
        let (address, rest) = self.0.split_first_chunk()?;
        let (&length, rest) = rest.split_first()?;
        if !is_length(length) {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(length.into())?;
        self.0 = rest;
        Some(Place { address: u64::from_le_bytes(*address), bytes })
    }
}

fn is_length(length: u8) -> bool {
    (1..=PLACE_MAX).contains(&length.into())
}

#[cfg(test)]
mod tests {
    use super::{PLACE_MAX, PLACES_MAX, Payload, Place, decode, push};
    use proptest::prelude::*;

    fn round(places: &[Place<'_>]) -> Option<Vec<u8>> {
        let mut payload = Payload::new();
        places.iter().try_for_each(|place| push(&mut payload, *place))?;
        Some(payload.to_vec())
    }

    #[test]
    fn as_many_places_as_there_can_be_fit() {
        let place = Place { address: u64::MAX, bytes: &[7; PLACE_MAX] };
        let payload = round(&[place; PLACES_MAX]).unwrap();
        assert!(decode(&payload).unwrap().eq([place; PLACES_MAX]));
        let payload = round(&[place; PLACES_MAX + 1]).unwrap();
        assert!(decode(&payload).is_none(), "a place too many");
        assert_eq!(round(&[place; 100]), None);
        assert_eq!(decode(&[]).unwrap().count(), 0);
    }

    #[test]
    fn places_without_bytes_and_with_too_many_are_none() {
        assert_eq!(round(&[Place { address: 1, bytes: &[] }]), None);
        assert_eq!(round(&[Place { address: 1, bytes: &[0; PLACE_MAX + 1] }]), None);
        let mut payload = [0; 9 + PLACE_MAX + 1];
        assert!(decode(&payload[..9]).is_none());
        payload[8] = PLACE_MAX as u8 + 1;
        assert!(decode(&payload).is_none());
        payload[8] = PLACE_MAX as u8;
        assert!(decode(&payload).is_none(), "a byte too many");
        assert!(decode(&payload[..9 + PLACE_MAX]).is_some());
        assert!(decode(&payload[..8 + PLACE_MAX]).is_none(), "a byte too few");
    }

    #[test]
    fn more_places_than_there_can_be_are_refused() {
        let payload = [0_u8, 0, 0, 0, 0, 0, 0, 0, 1, 5].repeat(PLACES_MAX + 1);
        assert!(decode(&payload).is_none());
        assert!(decode(&payload[10..]).is_some());
    }

    proptest! {
        #[test]
        fn what_decodes_is_the_encoding_of_what_it_decodes_to(
            payload in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..64),
        ) {
            if let Some(places) = decode(&payload) {
                let places: Vec<_> = places.collect();
                prop_assert_eq!(round(&places), Some(payload.clone()));
            }
        }
    }
}
