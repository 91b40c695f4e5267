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
//! When a call fails, RCX holds [`Fault::place`] and RDX holds [`Fault::detail`]. Registers that a
//! call does not name as results keep their values. Guest addresses are translated with the page
//! tables of the registered kernel, or, where a call needs no registration, with those of the
//! calling processor.
//!
//! [`ErrorCode`]: crate::ErrorCode
//! [`Fault::place`]: crate::Fault::place
//! [`Fault::detail`]: crate::Fault::detail

/// The upper bits of RAX in every hypercall.
pub const CALL_BASE: u64 = 0x4c55_0000;

/// Mask of the bits of RAX that hold the call number.
pub const CALL_NUMBER_MASK: u64 = 0xffff;

/// Most bytes of a descriptor.
pub const MAX_DESCRIPTOR_LENGTH: usize = 64 * 1024;

/// Most bytes of a group of descriptors.
pub const MAX_GROUP_LENGTH: usize = 256 * 1024;

/// Most bytes of any other buffer that a guest hands over.
pub const MAX_BUFFER_LENGTH: usize = 64 * 1024;

/// Most stops that one [`Call::MeasureStop`] makes.
pub const MAX_MEASURED_STOPS: u64 = 10_000;

/// Function index of [`Call::Jump`] that means every function whose window may take a jump.
pub const ALL_FUNCTIONS: u32 = u32::MAX;

/// Flag of [`Call::Rollback`]: nobody may be inside the new functions, else
/// [`Occupied`](crate::ErrorCode::Occupied).
pub const ROLLBACK_CLEAR_ONLY: u32 = 1 << 0;
/// Flag of [`Call::Rollback`]: run the checks and change nothing.
pub const ROLLBACK_CHECK_ONLY: u32 = 1 << 1;
/// Every flag of [`Call::Rollback`].
pub const ROLLBACK_FLAGS: u32 = ROLLBACK_CLEAR_ONLY | ROLLBACK_CHECK_ONLY;

/// Result of [`Call::Apply`] and [`Call::Rollback`]: nobody was inside the code that was left.
pub const RESULT_CLEAR: u64 = 1 << 0;

/// Argument of [`Call::Drained`]: nobody is in the old functions any more.
pub const DRAINED_OLD: u64 = 0;
/// Argument of [`Call::Drained`]: nobody is in the new functions any more.
pub const DRAINED_NEW: u64 = 1;

/// Result of an upcall in [`Call::Done`]: it did what it should. What a function refused with, an
/// errno, lies between this and [`DONE_LAW_BROKEN`].
pub const DONE_SUCCESS: u64 = 0;
/// Result of an upcall in [`Call::Done`]: two transfer functions are not inverse. The detail is the
/// offset of the first byte that differs.
pub const DONE_LAW_BROKEN: u64 = 4096;

/// [`Fault::item`](crate::Fault::item) of the first value of a descriptor; functions count from 0.
pub const VALUE_ITEMS: u32 = 1 << 16;
/// [`Fault::item`](crate::Fault::item) of the first data version.
pub const DATA_ITEMS: u32 = 2 << 16;
/// [`Fault::item`](crate::Fault::item) of the first dependency.
pub const DEPENDENCY_ITEMS: u32 = 3 << 16;

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
        Drained = 10, "DRAINED", "nobody is in the code any more that an update left";
        Pair = 11, "PAIR", "an object has a twin from now on";
        Unpair = 12, "UNPAIR", "an object has no twin any more";
        Withdraw = 13, "WITHDRAW", "take a patch back at once, in any context";
        Done = 14, "DONE", "an upcall has ended";
    }
}

// What the calls take and give:
//
// HELLO         RBX = interface version wanted
//               -> RBX = interface version of LUCOS, RCX = feature bits, RDX = number of vCPUs
// REGISTER      RBX = nonce (not 0), RCX = GVA of a registration record, RDX = its length
//               -> RBX = number of updates in the journal of this boot
// UNREGISTER    RBX = nonce, RCX = an `UnregisterReason`
// APPLY         RBX = nonce, RCX = GVA of a descriptor or a group, RDX = its length
//               -> RBX = number of the patch, or of the group's first one (0 for a check),
//                  RCX = `RESULT_CLEAR` or 0
// JUMP          RBX = nonce, RCX = patch number, RDX = function index or `ALL_FUNCTIONS`
//               -> RBX = number of functions that have a jump now
// ROLLBACK      RBX = nonce, RCX = patch number, RDX = `ROLLBACK_*` flags, and from bit 32 on the
//               length of the rollback record, RSI = its GVA; both 0 for none
//               -> RCX = `RESULT_CLEAR` or 0, RDX = values that somebody else had changed and that
//                  stay as they are
// QUERY         RBX = a `QueryKind`, RCX = selector, RDX = GVA of a buffer, RSI = its length
//               -> RAX = bytes written
// LOG           RCX = offset in the log stream, RDX = GVA of a buffer, RSI = its length
//               -> RAX = bytes written, RBX = offset behind them, RCX = offset of the first one
// MEASURE_STOP  RBX = nonce, RCX = how often (at most `MAX_MEASURED_STOPS`)
//               -> RBX = stops done, RCX = the longest one in TSC ticks
// PARK          does not return
// DRAINED       RBX = nonce, RCX = patch number, RDX = `DRAINED_OLD` or `DRAINED_NEW`
// PAIR, UNPAIR  RBX = nonce, RCX = GVA of a pair record
// WITHDRAW      RBX = nonce, RCX = patch number, RDX = a `Cause`
//               -> RBX = number of patches that were taken back, with those that stood on it or
//                  needed it
// DONE          RBX = `DONE_SUCCESS`, an errno, or `DONE_LAW_BROKEN`, RCX = detail; only in an upcall.
//               Does not return

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
        Value = 6, "VALUE", "a ValueStatus, selector is list position << 32 | value index";
        Version = 7, "VERSION", "a VersionStatus, selector is list position << 32 | data version index";
    }
}

listing! {
    /// Why a patch is withdrawn.
    pub enum Cause {
        Oops = 1, "OOPS", "the kernel had an oops";
        Panic = 2, "PANIC", "the kernel panicked";
        Hang = 3, "HANG", "a processor took no timer interrupt any more";
        Lockup = 4, "LOCKUP", "a processor ran no other thread any more";
        Transfer = 5, "TRANSFER", "a transfer function failed";
    }
}

listing! {
    /// What LUCOS calls the update manager for.
    pub enum Upcall {
        TransferOne = 1, "TRANSFER_ONE", "one object is carried";
        TransferAll = 2, "TRANSFER_ALL", "all objects of a data version are carried";
        Witness = 3, "WITNESS", "is somebody inside the code that is being left";
    }
}

// What an upcall gets, in RDI, RSI, RDX and RCX:
//
// TRANSFER_ONE  1, the transfer function, the target (a copy on the scratch page), the source
// TRANSFER_ALL  2, patch number << 32 | index of the data version, 0 to the twins or 1 to the
//               objects, the stage
// WITNESS       3, patch number, 0 for the old or 1 for the new functions, the scratch page with a
//               `StoppedProcessors` record

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
