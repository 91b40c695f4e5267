//! The guest's RAM.

use super::{Buffer, need, reply, request};
use crate::memory::guest_ram;
use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Rights;
use lucos_abi::object::{Done, GuestMemoryRequest};

/// Serves a request.
pub fn serve(rights: Rights, message: &[u8], buffer: &mut Buffer) -> Result<usize, CallStatus> {
    let request = request(message)?;
    need(rights, Rights::WRITE)?;
    match request {
        GuestMemoryRequest::Write { gpa, data } => guest_ram::write(gpa, data),
        GuestMemoryRequest::Copy { from, to, length } => guest_ram::copy(from, to, length),
    }
    .ok_or(CallStatus::Refused)?;
    reply(&Done, buffer)
}
