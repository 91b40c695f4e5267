//! Copies between guest and task.

use alloc::vec::Vec;

use lucos_abi::message::PAYLOAD_MAX;
use lucos_guest_interface::call::NO_ITEM;
use lucos_guest_interface::{ErrorCode, Fault};
use lucos_service::AddressSpace;
use lucos_transaction::MachineError;

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
    read(platform, space, address, &mut bytes).map_err(|error| error.fault(NO_ITEM))?;
    Ok(bytes)
}

/// Zero bytes, or an error when there is no memory for them.
///
/// # Errors
/// `Internal`
pub fn zeroed(length: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| Fault::new(ErrorCode::Internal, length as u64))?;
    bytes.resize(length, 0);
    Ok(bytes)
}

/// Reads any number of bytes.
///
/// # Errors
/// [`MachineError::NotMapped`], [`MachineError::Failed`]; `bytes` then holds anything.
pub fn read<P: Platform>(
    platform: &mut P,
    space: AddressSpace,
    address: u64,
    bytes: &mut [u8],
) -> Result<(), MachineError> {
    let mut at = address;
    for part in bytes.chunks_mut(PAYLOAD_MAX) {
        platform.read(space, at, part)?;
        at = at.wrapping_add(part.len() as u64);
    }
    Ok(())
}

/// Writes a result of at most [`PAYLOAD_MAX`] bytes into a buffer of the guest.
///
/// # Errors
/// `Address`
pub fn copy_out<P: Platform>(
    platform: &mut P,
    space: AddressSpace,
    address: u64,
    bytes: &[u8],
) -> Result<(), Fault> {
    platform.write(space, address, bytes).map_err(|error| error.fault(NO_ITEM))
}
