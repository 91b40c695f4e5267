//! The loop of a task that others call.

use lucos_abi::call::REPLY_AND_WAIT;
use lucos_abi::message::{MESSAGE_SIZE, PAYLOAD_MAX, decode, encode};
use serde::{Deserialize, Serialize};

use crate::system_call::system_call;
use crate::thread::Thread;

/// Bytes that a reply can borrow.
pub type Scratch = [u8; PAYLOAD_MAX];

/// What a task does for its callers. Each thread has its own value; what threads share lies in
/// statics of the task.
pub trait Service {
    /// The requests.
    type Request<'a>: Deserialize<'a> + Serialize;
    /// The replies. Each must encode to at least one byte: an empty reply says that the request
    /// could not be read.
    type Reply<'a>: Serialize;

    /// Answers one request. `badge` is the caller's, as the kernel knows it. The handler may call
    /// others: `request` is a copy and does not lie in the message page.
    fn handle<'a>(
        &mut self,
        thread: &mut Thread,
        badge: u64,
        request: Self::Request<'a>,
        scratch: &'a mut Scratch,
    ) -> Self::Reply<'a>;
}

impl Thread {
    /// Answers requests for ever. A message that is no request gets an empty reply.
    pub fn serve<S: Service>(mut self, mut service: S) -> ! {
        let mut request = [0; MESSAGE_SIZE];
        let mut scratch = [0; PAYLOAD_MAX];
        let mut reply_length = 0;
        loop {
            let received = system_call(REPLY_AND_WAIT, 0, reply_length as u64);
            let length = usize::try_from(received.rdx).unwrap_or(MESSAGE_SIZE);
            let length = length.min(MESSAGE_SIZE);
            let (Some(bytes), Some(message)) =
                (request.get_mut(..length), self.page().get(..length))
            else {
                continue;
            };
            bytes.copy_from_slice(message);
            reply_length = answer(&mut self, &mut service, received.rax, bytes, &mut scratch);
        }
    }
}

/// Answers one request and returns the length of the reply in the message page.
fn answer<S: Service>(
    thread: &mut Thread,
    service: &mut S,
    badge: u64,
    bytes: &[u8],
    scratch: &mut Scratch,
) -> usize {
    let Ok(request) = decode::<S::Request<'_>>(bytes) else {
        return 0;
    };
    let reply = service.handle(thread, badge, request, scratch);
    encode(&reply, thread.page()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Scratch, Service, answer};
    use crate::Thread;
    use lucos_abi::message::{MESSAGE_SIZE, PAYLOAD_MAX, decode, encode};
    use lucos_service::{MemoryReply, MemoryRequest};

    /// Answers every read with as many bytes of the value 7.
    struct Sevens;

    impl Service for Sevens {
        type Request<'a> = MemoryRequest<'a>;
        type Reply<'a> = MemoryReply<'a>;

        fn handle<'a>(
            &mut self,
            _thread: &mut Thread,
            _badge: u64,
            request: MemoryRequest<'a>,
            scratch: &'a mut Scratch,
        ) -> MemoryReply<'a> {
            let MemoryRequest::ReadPhysical { length, .. } = request else {
                return MemoryReply::Done;
            };
            let data = &mut scratch[..length as usize];
            data.fill(7);
            MemoryReply::Bytes { data }
        }
    }

    #[test]
    fn requests_are_answered_and_other_bytes_get_an_empty_reply() {
        let mut page = [0; MESSAGE_SIZE];
        // SAFETY: `page` outlives the thread and is used by nothing else.
        let mut thread = unsafe { Thread::new(page.as_mut_ptr()) };
        let mut scratch = [0; PAYLOAD_MAX];
        let mut bytes = [0; 64];
        let request = MemoryRequest::ReadPhysical { gpa: 0, length: 3 };
        let length = encode(&request, &mut bytes).unwrap();

        let reply = answer(&mut thread, &mut Sevens, 1, &bytes[..length], &mut scratch);
        assert_eq!(
            decode::<MemoryReply>(&thread.page()[..reply]),
            Ok(MemoryReply::Bytes { data: &[7; 3] })
        );

        let truncated = answer(&mut thread, &mut Sevens, 1, &bytes[..length - 1], &mut scratch);
        assert_eq!(truncated, 0);
    }
}
