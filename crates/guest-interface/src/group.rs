//! Several descriptors that are applied in one step: all or none.
//!
//! A group is a [`GroupHeader`] and behind it its descriptors, each at a multiple of eight bytes,
//! the bytes between them zero. Each is prepared as if those before it were in force.

use crate::call::MAX_GROUP_LENGTH;
use crate::error::{ErrorCode, Fault};

/// The first eight bytes of a group.
pub const GROUP_MAGIC: [u8; 8] = *b"LUCOSGRP";

/// Version of the format.
pub const GROUP_VERSION: u32 = 1;

/// Most patches that are applied or rolled back in one step.
pub const MAX_GROUP: usize = 8;

record! {
    /// The start of a group.
    pub struct GroupHeader = "lucos_group", 56 bytes {
        /// [`GROUP_MAGIC`].
        pub magic: [u8; 8],
        /// [`GROUP_VERSION`].
        pub version: u32,
        /// Number of descriptors, 1 to [`MAX_GROUP`].
        pub count: u32,
        /// Size of the group in bytes, this header included.
        pub total_length: u32,
        /// Zero.
        pub reserved: u32,
        /// Lengths of the descriptors in bytes; zero behind the last one.
        pub lengths: [u32; 8],
    }
}

const _: () = assert!(MAX_GROUP == 8);

/// The bytes of each descriptor of `bytes`, which are a group or else one descriptor.
///
/// # Errors
/// `DescriptorVersion` (detail: the group's version), `TotalLength`, `Reserved`, and `Group` (detail:
/// the number of descriptors, or the offset that is wrong).
pub fn split(bytes: &[u8]) -> Result<heapless::Vec<&[u8], MAX_GROUP>, Fault> {
    let mut parts = heapless::Vec::new();
    let header = GroupHeader::read(bytes).filter(|header| header.magic == GROUP_MAGIC);
    let Some(header) = header else {
        // There is room for one.
        let _ = parts.push(bytes);
        return Ok(parts);
    };
    check(&header, bytes.len())?;
    let mut at = GroupHeader::SIZE;
    for &length in header.lengths.iter().take(header.count as usize) {
        let wrong = Fault::new(ErrorCode::Group, at as u64);
        let part = at.checked_add(length as usize).and_then(|end| bytes.get(at..end));
        let part = part.filter(|part| !part.is_empty()).ok_or(wrong)?;
        parts.push(part).map_err(|_| wrong)?;
        let end = at + part.len();
        at = end.next_multiple_of(8);
        if bytes.get(end..at).is_none_or(|padding| padding.iter().any(|&byte| byte != 0)) {
            return Err(Fault::new(ErrorCode::Group, end as u64));
        }
    }
    if at != bytes.len() {
        return Err(Fault::new(ErrorCode::Group, at as u64));
    }
    Ok(parts)
}

fn check(header: &GroupHeader, length: usize) -> Result<(), Fault> {
    if header.version != GROUP_VERSION {
        return Err(Fault::new(ErrorCode::DescriptorVersion, header.version.into()));
    }
    if header.total_length as usize != length || length > MAX_GROUP_LENGTH {
        return Err(Fault::new(ErrorCode::TotalLength, header.total_length.into()));
    }
    if header.reserved != 0 {
        return Err(Fault::new(ErrorCode::Reserved, header.reserved.into()));
    }
    let count = header.count as usize;
    let unused = header.lengths.get(count..).unwrap_or_default();
    if count == 0 || count > MAX_GROUP || unused.iter().any(|&length| length != 0) {
        return Err(Fault::new(ErrorCode::Group, header.count.into()));
    }
    Ok(())
}

/// Puts descriptors together to a group, for tests and host tools. Only the first [`MAX_GROUP`] of
/// them have a place for their length.
#[cfg(any(test, feature = "std"))]
#[must_use]
pub fn join(descriptors: &[std::vec::Vec<u8>]) -> std::vec::Vec<u8> {
    let mut header = GroupHeader {
        magic: GROUP_MAGIC,
        version: GROUP_VERSION,
        count: descriptors.len() as u32,
        ..GroupHeader::default()
    };
    let mut body = std::vec::Vec::new();
    for (index, descriptor) in descriptors.iter().enumerate() {
        if let Some(length) = header.lengths.get_mut(index) {
            *length = descriptor.len() as u32;
        }
        body.extend_from_slice(descriptor);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    header.total_length = (GroupHeader::SIZE + body.len()) as u32;
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(body);
    bytes
}
