//! A thread of a task and the calls it makes.

use core::fmt;

use lucos_abi::call::{CALL, CallStatus, FAULT};
use lucos_abi::manifest::Object;
use lucos_abi::message::{MESSAGE_SIZE, MessageError, decode, encode};
use lucos_abi::object::LogRequest;
use serde::{Deserialize, Serialize};

use crate::system_call::system_call;

/// Longest line that a thread logs in bytes; what is longer is cut.
const LINE_MAX: usize = 256;

/// Why a call has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The kernel (or, for [`CallStatus::BadMessage`], the called task) did not do it.
    Status(CallStatus),
    /// The kernel wrote a status that does not exist.
    UnknownStatus(u64),
    /// The request does not fit in a message.
    TooLong,
    /// The reply is not what was expected.
    BadReply(MessageError),
}

impl fmt::Display for CallError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Status(status) => write!(to, "the call ended with {status:?}"),
            CallError::UnknownStatus(status) => {
                write!(to, "the kernel answered with the unknown status {status}")
            }
            CallError::TooLong => to.write_str("the request does not fit in a message"),
            CallError::BadReply(error) => write!(to, "the reply does not decode: {error:?}"),
        }
    }
}

/// The status that the kernel wrote as `value`; `None` for a number it never writes.
pub fn call_status(value: u64) -> Option<CallStatus> {
    const ALL: [CallStatus; 14] = [
        CallStatus::Done,
        CallStatus::NoCapability,
        CallStatus::MissingRight,
        CallStatus::BadMessage,
        CallStatus::TooLong,
        CallStatus::Cycle,
        CallStatus::Restarted,
        CallStatus::Refused,
        CallStatus::Busy,
        CallStatus::Late,
        CallStatus::NoSuchCall,
        CallStatus::NotThere,
        CallStatus::WrongState,
        CallStatus::Full,
    ];
    ALL.into_iter().find(|status| *status as u64 == value)
}

/// The thread that runs: the right to use this processor's message page.
///
/// There is exactly one value of this type on each thread.
#[derive(Debug)]
pub struct Thread {
    page: *mut [u8; MESSAGE_SIZE],
}

impl Thread {
    /// The thread whose message page is at `page`.
    ///
    /// # Safety
    /// `page` points to [`MESSAGE_SIZE`] readable and writable bytes that nothing else uses for as
    /// long as the thread lives.
    #[cfg_attr(not(any(target_os = "none", test)), allow(dead_code))]
    pub(crate) unsafe fn new(page: *mut u8) -> Self {
        Self { page: page.cast() }
    }

    /// The message page.
    pub(crate) fn page(&mut self) -> &mut [u8; MESSAGE_SIZE] {
        // SAFETY: `new`'s caller promised that the page belongs to this thread alone; the borrow of
        // `self` keeps every call to the kernel, which writes the page, away from the reference.
        unsafe { &mut *self.page }
    }

    /// Sends `request` to the object or task behind the capability for `object` and waits for the
    /// reply, which may borrow from the message page.
    ///
    /// # Errors
    /// [`CallError`]; a task that could not read the request counts as
    /// [`CallStatus::BadMessage`].
    pub fn call<'a, Request, Reply>(
        &'a mut self,
        object: Object,
        request: &Request,
    ) -> Result<Reply, CallError>
    where
        Request: Serialize,
        Reply: Deserialize<'a> + Serialize,
    {
        let length = encode(request, self.page()).map_err(|_| CallError::TooLong)?;
        let returned = system_call(CALL, object.slot(), length as u64);
        match call_status(returned.rax) {
            Some(CallStatus::Done) => {}
            Some(status) => return Err(CallError::Status(status)),
            None => return Err(CallError::UnknownStatus(returned.rax)),
        }
        let reply = usize::try_from(returned.rdx)
            .ok()
            .and_then(|length| self.page().get(..length))
            .ok_or(CallError::BadReply(MessageError::TooLong))?;
        if reply.is_empty() && matches!(object, Object::Task(_)) {
            return Err(CallError::Status(CallStatus::BadMessage));
        }
        decode(reply).map_err(CallError::BadReply)
    }

    /// Sends bytes as they are to whatever is behind `slot`, and returns status and reply length. For
    /// tests of the kernel: tasks use [`Thread::call`].
    #[cfg(feature = "raw-calls")]
    pub fn call_bytes(&mut self, slot: u64, bytes: &[u8], length: u64) -> (u64, u64) {
        for (place, byte) in self.page().iter_mut().zip(bytes) {
            *place = *byte;
        }
        let returned = system_call(CALL, slot, length);
        (returned.rax, returned.rdx)
    }

    /// Enters the kernel with any call number. For tests of the kernel.
    #[cfg(feature = "raw-calls")]
    pub fn call_number(&mut self, number: u64) -> u64 {
        system_call(number, 0, 0).rax
    }

    /// Writes one line to the log, or nothing when this task may not. Use [`crate::log!`].
    pub fn log(&mut self, text: fmt::Arguments<'_>) {
        let mut line = Text::<LINE_MAX>::new();
        // A line that is too long is cut, which is no error here.
        let _ = fmt::write(&mut line, text);
        let request = LogRequest::Write { text: line.as_str() };
        // Nobody could be told that the log does not work.
        let _ = self.call::<_, lucos_abi::object::Done>(Object::Log, &request);
    }

    /// Gives up: the kernel logs `reason` and restarts the task.
    pub fn give_up(mut self, reason: fmt::Arguments<'_>) -> ! {
        let mut text = Text::<LINE_MAX>::new();
        let _ = fmt::write(&mut text, reason);
        let length = text.as_str().len();
        if let Some(place) = self.page().get_mut(..length) {
            place.copy_from_slice(text.as_str().as_bytes());
        }
        loop {
            system_call(FAULT, 0, length as u64);
            core::hint::spin_loop();
        }
    }
}

/// Text of at most `N` bytes; what does not fit is left out.
struct Text<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], used: 0 }
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.used).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = N - self.used;
        let fits = (0..=text.len().min(room))
            .rev()
            .find(|&length| text.is_char_boundary(length))
            .unwrap_or(0);
        if let (Some(place), Some(part)) =
            (self.bytes.get_mut(self.used..self.used + fits), text.as_bytes().get(..fits))
        {
            place.copy_from_slice(part);
            self.used += fits;
        }
        if fits < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{CallError, Text, Thread};
    use core::fmt::Write;
    use lucos_abi::call::CallStatus;
    use lucos_abi::manifest::Object;
    use lucos_abi::message::MESSAGE_SIZE;
    use lucos_abi::object::{MachineReply, MachineRequest};

    fn with_thread(test: impl FnOnce(&mut Thread)) {
        let mut page = [0_u8; MESSAGE_SIZE];
        // SAFETY: `page` outlives the thread and is used by nothing else.
        let mut thread = unsafe { Thread::new(page.as_mut_ptr()) };
        test(&mut thread);
    }

    #[test]
    fn a_call_encodes_the_request_and_reports_the_status() {
        with_thread(|thread| {
            let request = MachineRequest::Stop { deadline: 5 };
            let answer = thread.call::<_, MachineReply>(Object::Machine, &request);
            assert_eq!(answer, Err(CallError::Status(CallStatus::NoSuchCall)));
            assert_eq!(thread.page()[..2], [0, 5]);
        });
    }

    #[test]
    fn a_request_that_fits_no_message_is_refused_before_the_call() {
        with_thread(|thread| {
            let text = "x".repeat(MESSAGE_SIZE);
            let request = lucos_abi::object::LogRequest::Write { text: &text };
            let answer = thread.call::<_, MachineReply>(Object::Log, &request);
            assert_eq!(answer, Err(CallError::TooLong));
        });
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let mut text = Text::<4>::new();
        assert!(write!(text, "abc\u{e9}").is_err());
        assert_eq!(text.as_str(), "abc");
    }
}
