//! The guest's memory.

use super::{Buffer, need, reply, request};
use crate::memory::guest_ram;
use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Rights;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{GuestMemoryReply, GuestMemoryRequest};

/// Serves a request.
pub fn serve(rights: Rights, message: &[u8], buffer: &mut Buffer) -> Result<usize, CallStatus> {
    match request(message)? {
        GuestMemoryRequest::Write { gpa, data } => {
            need(rights, Rights::WRITE)?;
            guest_ram::write(gpa, data).ok_or(CallStatus::NotThere)?;
            reply(&GuestMemoryReply::Done, buffer)
        }
        GuestMemoryRequest::Copy { from, to, length } => {
            need(rights, Rights::WRITE)?;
            guest_ram::copy(from, to, length).ok_or(CallStatus::NotThere)?;
            reply(&GuestMemoryReply::Done, buffer)
        }
        GuestMemoryRequest::Read { gpa, length } => {
            need(rights, Rights::READ)?;
            let mut bytes = [0; PAYLOAD_MAX];
            let bytes = bytes.get_mut(..length as usize).ok_or(CallStatus::Refused)?;
            guest_ram::read(gpa, bytes).ok_or(CallStatus::NotThere)?;
            reply(&GuestMemoryReply::Bytes { bytes }, buffer)
        }
    }
}
