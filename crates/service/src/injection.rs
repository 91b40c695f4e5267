//! Faults that a test orders: a hypercall that only images built for tests know.
//!
//! RBX = kind, RCX, RDX, RSI as [`Injection`] says. The fault happens once.

/// Number of the hypercall; none that the guest interface gives out.
pub const CALL: u16 = 0xff00;

/// In the place of a hypercall's number: a write to a guarded page. All of it is steps.
pub const GUARDED_WRITE: u16 = 0xff01;

/// What is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// RBX = 1: a step of the next hypercall of this number fails.
    StepFails(Step),
    /// RBX = 2: `liveupdate` ends in that step.
    LiveupdateEnds(Step),
    /// RBX = 3: `memory` ends in the request that follows on that step, or behind it.
    MemoryEnds(Step),
    /// RBX = 4: `vmx` ends when `liveupdate` has answered the next call of this number (RCX).
    VmxEnds {
        /// The number.
        call: u16,
    },
    /// RBX = 5: `vmx` ends at this very hypercall, each time.
    VmxAlwaysEnds,
}

/// A step of a hypercall: a write to the journal, a stop, a change of guards, or, while the guest
/// stands still, any other request to kernel or `memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// RCX: number of the hypercall.
    pub call: u16,
    /// RDX: which step, from 0.
    pub number: u64,
    /// RSI, bit 0: all guest memory is hashed when the guest stands still, and again before it goes on.
    pub hash: bool,
    /// RSI, bits 8 to 15: how many calls of this number go by before. One that is answered that LUCOS
    /// is busy counts neither here nor as the one that is meant.
    pub skip: u8,
    /// RSI, bits 16 to 31: after how many more writes to the guest's memory `memory` ends; 0: at once.
    pub writes: u16,
}

impl Injection {
    /// What the registers RBX, RCX, RDX, RSI ask for.
    pub fn from_arguments([kind, call, number, how]: [u64; 4]) -> Option<Self> {
        let call = u16::try_from(call).ok()?;
        let [flags, skip, writes @ ..] = u32::try_from(how).ok()?.to_le_bytes();
        let writes = u16::from_le_bytes(writes);
        let step = Step { call, number, hash: flags & 1 != 0, skip, writes };
        match kind {
            1 => Some(Self::StepFails(step)),
            2 => Some(Self::LiveupdateEnds(step)),
            3 => Some(Self::MemoryEnds(step)),
            4 => Some(Self::VmxEnds { call }),
            5 => Some(Self::VmxAlwaysEnds),
            _ => None,
        }
    }
}
