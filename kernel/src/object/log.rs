//! The log.

use super::{Buffer, need, reply, request};
use crate::output;
use lucos_abi::call::CallStatus;
use lucos_abi::manifest::Rights;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{LogReply, LogRequest};

/// Serves a request of the task called `task`.
pub fn serve(
    task: &str,
    rights: Rights,
    message: &[u8],
    buffer: &mut Buffer,
) -> Result<usize, CallStatus> {
    match request(message)? {
        LogRequest::Write { text } => {
            need(rights, Rights::WRITE)?;
            output::task_line(task, text);
            reply(&LogReply::Done, buffer)
        }
        LogRequest::Read { offset, length } => {
            need(rights, Rights::READ)?;
            let mut bytes = [0; PAYLOAD_MAX];
            let room = bytes.get_mut(..length as usize).ok_or(CallStatus::Refused)?;
            let (offset, copied) = output::read_ring(offset, room);
            let bytes = room.get(..copied).unwrap_or(&[]);
            reply(&LogReply::Text { offset, bytes }, buffer)
        }
    }
}
