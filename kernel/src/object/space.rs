//! The guest space.

use super::{Buffer, need, reply, request};
use crate::guest_space;
use lucos_abi::call::CallStatus;
use lucos_abi::manifest;
use lucos_abi::object::{Done, SpaceRequest};
use lucos_paging::Rights;

/// Serves a request that comes from processor `me`.
pub fn serve(
    me: u32,
    rights: manifest::Rights,
    message: &[u8],
    buffer: &mut Buffer,
) -> Result<usize, CallStatus> {
    let SpaceRequest::Set { start, length, read, write, execute } = request(message)?;
    need(rights, manifest::Rights::WRITE)?;
    let rights = Rights { read, write, execute, ..Rights::NONE };
    guest_space::set(me, start, length, rights)?;
    reply(&Done, buffer)
}
