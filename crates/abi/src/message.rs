//! Strict postcard: what was not written by [`encode`] is not read by [`decode`].
//!
//! postcard itself accepts bytes after the message and integers in more bytes than needed. Both
//! would let two different byte strings mean the same message, so both are errors here.

use serde::{Deserialize, Serialize};

/// Bytes of a message page; no message is longer.
pub const MESSAGE_SIZE: usize = 4096;

/// Most bytes of payload that a message carries beside its other fields.
pub const PAYLOAD_MAX: usize = 2048;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageError {
    /// The bytes end inside the message, name an unknown variant, or hold an impossible value.
    Malformed,
    /// Bytes follow the message.
    TrailingBytes,
    /// The bytes decode, but are not the encoding of what they decode to.
    NotCanonical,
    /// The message does not fit in the buffer.
    TooLong,
}

/// Writes `message` into `buffer` and returns its length in bytes.
///
/// # Errors
/// [`MessageError::TooLong`] when `buffer` is too small.
pub fn encode<T: Serialize>(message: &T, buffer: &mut [u8]) -> Result<usize, MessageError> {
    postcard::to_slice(message, buffer).map(|used| used.len()).map_err(|_| MessageError::TooLong)
}

/// Reads a message that fills `bytes` exactly.
///
/// # Errors
/// Every [`MessageError`] but `TooLong`.
pub fn decode<'a, T: Deserialize<'a> + Serialize>(bytes: &'a [u8]) -> Result<T, MessageError> {
    let (message, rest) =
        postcard::take_from_bytes::<T>(bytes).map_err(|_| MessageError::Malformed)?;
    if !rest.is_empty() {
        return Err(MessageError::TrailingBytes);
    }
    if !is_encoding_of(&message, bytes) {
        return Err(MessageError::NotCanonical);
    }
    Ok(message)
}

/// Encodes `message` again, comparing byte for byte with `bytes` and storing nothing.
fn is_encoding_of<T: Serialize>(message: &T, bytes: &[u8]) -> bool {
    postcard::serialize_with_flavor(message, Comparison { rest: bytes }).unwrap_or(false)
}

/// A postcard output that accepts only the bytes it was given.
struct Comparison<'a> {
    rest: &'a [u8],
}

impl postcard::ser_flavors::Flavor for Comparison<'_> {
    type Output = bool;

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        match self.rest.strip_prefix(data) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(postcard::Error::SerializeBufferFull),
        }
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::{MessageError, decode, encode};
    use crate::object::{LogRequest, MachineRequest};
    use proptest::prelude::*;

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let mut buffer = [0; 64];
        let request = LogRequest::Write { text: "hello" };
        let length = encode(&request, &mut buffer).unwrap();
        assert_eq!(decode(&buffer[..length]), Ok(request));
    }

    #[test]
    fn truncated_trailing_and_unknown_are_refused() {
        let mut buffer = [0; 64];
        let length = encode(&MachineRequest::Stop { deadline: 300 }, &mut buffer).unwrap();
        assert_eq!(decode::<MachineRequest>(&buffer[..length - 1]), Err(MessageError::Malformed));
        assert_eq!(decode::<MachineRequest>(&buffer[..=length]), Err(MessageError::TrailingBytes));
        assert_eq!(decode::<MachineRequest>(&[99]), Err(MessageError::Malformed));
    }

    #[test]
    fn a_padded_varint_is_refused() {
        // Stop { deadline: 5 } is [0, 5]; [0, 0x85, 0x00] means the same to postcard.
        assert_eq!(decode::<MachineRequest>(&[0, 5]), Ok(MachineRequest::Stop { deadline: 5 }));
        assert_eq!(decode::<MachineRequest>(&[0, 0x85, 0]), Err(MessageError::NotCanonical));
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error() {
        let request = LogRequest::Write { text: "longer than four" };
        assert_eq!(encode(&request, &mut [0; 4]), Err(MessageError::TooLong));
    }

    proptest! {
        #[test]
        fn every_accepted_byte_string_is_its_own_encoding(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(request) = decode::<MachineRequest>(&bytes) {
                let mut buffer = [0; 512];
                let length = encode(&request, &mut buffer).unwrap();
                prop_assert_eq!(&buffer[..length], &bytes[..]);
            }
        }
    }
}
