//! Copies between guest and task.

use alloc::vec::Vec;

use lucos_guest_interface::call::NO_ITEM;
use lucos_guest_interface::{Fault, Part};
use lucos_service::AddressSpace;

use crate::guest::subject_error;
use crate::platform::Platform;

/// A copy of what the guest has at `address`. The copy is made once: what the guest writes there
/// later does not matter.
///
/// # Errors
/// `Address`, or `Internal` when there is no memory for the copy.
pub fn copy_in<P: Platform>(
    platform: &mut P,
    space: AddressSpace,
    address: u64,
    length: usize,
) -> Result<Vec<u8>, Fault> {
    let mut bytes = zeroed(length)?;
    let read = platform.read(space, address, &mut bytes);
    read.map_err(|failure| subject_error(failure, address).fault(NO_ITEM))?;
    Ok(bytes)
}

/// Zero bytes, or an error when there is no memory for them.
///
/// # Errors
/// `Internal`
pub fn zeroed(length: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| Part::Liveupdate.fault(NO_ITEM))?;
    bytes.resize(length, 0);
    Ok(bytes)
}

/// Writes a result into a buffer of the guest.
///
/// # Errors
/// `Address`
pub fn copy_out<P: Platform>(
    platform: &mut P,
    space: AddressSpace,
    address: u64,
    bytes: &[u8],
) -> Result<(), Fault> {
    let written = platform.write(space, address, bytes);
    written.map_err(|failure| subject_error(failure, address).fault(NO_ITEM))
}
