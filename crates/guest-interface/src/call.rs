//! The hypercalls.
//!
//! A call is made at CPL 0 with `vmmcall` (AMD-V) or `vmcall` (VT-x); at any other level the
//! instruction raises #UD as on a machine without a hypervisor.
//!
//! | register | on entry | on return |
//! |---|---|---|
//! | RAX | [`CALL_BASE`] or-ed with the call number | >= 0: done; < 0: minus the [`ErrorCode`] number |
//! | RBX, RCX, RDX | arguments | extra results, or place and detail of the fault |
//! | RSI | argument | unchanged |
//!
//! When a call fails, RCX holds [`Fault::item`] and RDX holds [`Fault::detail`]. Registers that a
//! call does not name as results keep their values. Guest addresses are translated with the page
//! tables of the registered kernel, or, where a call needs no registration, with those of the
//! calling processor.
//!
//! [`ErrorCode`]: crate::ErrorCode
//! [`Fault::item`]: crate::Fault::item
//! [`Fault::detail`]: crate::Fault::detail

/// The upper bits of RAX in every hypercall.
pub const CALL_BASE: u64 = 0x4c55_0000;

/// Mask of the bits of RAX that hold the call number.
pub const CALL_NUMBER_MASK: u64 = 0xffff;

/// Most bytes of a descriptor.
pub const MAX_DESCRIPTOR_LENGTH: usize = 64 * 1024;

/// Most bytes of any other buffer that a guest hands over.
pub const MAX_BUFFER_LENGTH: usize = 64 * 1024;

/// Most stops that one [`Call::MeasureStop`] makes.
pub const MAX_MEASURED_STOPS: u64 = 10_000;

/// Function index of [`Call::Jump`] that means every function whose window may take a jump.
pub const ALL_FUNCTIONS: u32 = u32::MAX;

/// [`Fault::item`](crate::Fault::item) when no single item is at fault.
pub const NO_ITEM: u32 = u32::MAX;

/// Selector of [`QueryKind::ExitCounters`] that means the sum over all processors.
pub const ALL_PROCESSORS: u32 = u32::MAX;

listing! {
    /// A hypercall.
    pub enum Call {
        Hello = 0, "HELLO", "agree on the interface version";
        Register = 1, "REGISTER", "tell LUCOS about the guest kernel";
        Unregister = 2, "UNREGISTER", "the update manager or the kernel goes away";
        Apply = 3, "APPLY", "check an update and put it in force";
        Jump = 4, "JUMP", "turn a trap into a jump";
        Rollback = 5, "ROLLBACK", "take an update back";
        Query = 6, "QUERY", "read a status record";
        Log = 7, "LOG", "read the log of LUCOS";
        MeasureStop = 8, "MEASURE_STOP", "stop and resume all processors";
        Park = 9, "PARK", "wait for the wake-up mailbox";
    }
}

// What the calls take and give:
//
// HELLO         RBX = interface version wanted
//               -> RBX = interface version of LUCOS, RCX = feature bits, RDX = number of vCPUs
// REGISTER      RBX = nonce (not 0), RCX = GVA of a registration record, RDX = its length
//               -> RBX = number of updates in the journal of this boot
// UNREGISTER    RBX = nonce, RCX = an `UnregisterReason`
// APPLY         RBX = nonce, RCX = GVA of a descriptor, RDX = its length
//               -> RBX = patch number (0 for a check)
// JUMP          RBX = nonce, RCX = patch number, RDX = function index or `ALL_FUNCTIONS`
//               -> RBX = number of functions that have a jump now
// ROLLBACK      RBX = nonce, RCX = patch number
// QUERY         RBX = a `QueryKind`, RCX = selector, RDX = GVA of a buffer, RSI = its length
//               -> RAX = bytes written
// LOG           RCX = offset in the log stream, RDX = GVA of a buffer, RSI = its length
//               -> RAX = bytes written, RBX = offset behind them, RCX = offset of the first one
// MEASURE_STOP  RBX = nonce, RCX = how often (at most `MAX_MEASURED_STOPS`)
//               -> RBX = stops done, RCX = the longest one in TSC ticks
// PARK          does not return

listing! {
    /// Why a registration ends.
    pub enum UnregisterReason {
        ManagerUnload = 0, "MANAGER_UNLOAD", "the manager is unloaded, the journal stays";
        KernelDown = 1, "KERNEL_DOWN", "the kernel goes down, LUCOS forgets it";
    }
}

listing! {
    /// What [`Call::Query`] reads.
    pub enum QueryKind {
        System = 0, "SYSTEM", "a SystemStatus, selector 0";
        Patch = 1, "PATCH", "a PatchStatus, selector is the position in the list";
        Function = 2, "FUNCTION", "a FunctionStatus, selector is list position << 32 | function index";
        ExitCounters = 3, "EXIT_COUNTERS", "an ExitCounters, selector is a vCPU number or ALL_PROCESSORS";
        Jumps = 4, "JUMPS", "a JumpStatus, selector is a patch number";
        Processors = 5, "PROCESSORS", "a ProcessorList, selector 0";
    }
}

/// The value of RAX for a call.
#[must_use]
pub const fn register_value(call: Call) -> u64 {
    CALL_BASE | call.number() as u64
}

/// The call that RAX asks for; `None` when it is not a LUCOS call or an unknown one.
#[must_use]
pub const fn from_register(rax: u64) -> Option<Call> {
    if rax & !CALL_NUMBER_MASK != CALL_BASE {
        return None;
    }
    // The mask leaves sixteen bits.
    Call::from_number((rax & CALL_NUMBER_MASK) as u32)
}

/// The selector of [`QueryKind::Function`].
#[must_use]
pub const fn function_selector(position: u32, index: u32) -> u64 {
    (position as u64) << 32 | index as u64
}

#[cfg(test)]
mod tests {
    use super::{CALL_BASE, Call, from_register, register_value};

    #[test]
    fn register_values_are_recognised() {
        for &call in Call::ALL {
            assert_eq!(from_register(register_value(call)), Some(call));
        }
        assert_eq!(from_register(0), None);
        assert_eq!(from_register(CALL_BASE | 0xffff), None);
        assert_eq!(from_register(CALL_BASE | 1 << 32 | 1), None);
    }
}
