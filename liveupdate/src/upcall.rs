//! Upcalls: LUCOS calls the update manager, on the vCPU whose request is being served.
//!
//! An upcall is a detour: the guest's own registers wait until it is over. It runs confined, so
//! whatever it does changes nothing but its stack, its scratch page and a stage; what it may do, and
//! for how long, `lucos_data_versions::transfer` says.

use lucos_abi::layout::PAGE;
use lucos_abi::object::{ExitReason, View};
use lucos_abi::registers::Registers;
use lucos_data_versions::Cause;
use lucos_data_versions::transfer::{Next, Outcome, Run, Upcall as Kind};
use lucos_data_versions::write::Exception;
use lucos_guest_interface::call::{Call, Upcall, register_value};
use lucos_guest_interface::registration::UPCALL_PAGES;
use lucos_guest_interface::{ErrorCode, Fault, Part};
use lucos_service::{AddressSpace, FaultVerdict, MemoryRequest};
use lucos_transaction::SubjectError;
use lucos_transaction::journal::Upcalls;

use crate::guest::subject_error;
use crate::platform::Platform;

/// How many page tables and missing pages are mended for one upcall: one for each 2 MiB that it looks
/// at.
const MENDS_MAX: u32 = 1024;

/// RFLAGS with nothing set: the bit that is always 1.
const RFLAGS: u64 = 1 << 1;

/// Why an upcall did not do what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpcallError {
    /// The manager takes none on this processor.
    Missing,
    /// An interrupt came, and the guest is to ask again behind it.
    Busy,
    /// It was ended for this, at this instruction pointer.
    Contained {
        /// What for.
        cause: Cause,
        /// Where.
        rip: u64,
    },
    /// LUCOS failed.
    Failed(SubjectError),
}

impl UpcallError {
    /// What the guest is told, of the version with this item number.
    pub const fn fault(self, item: u32) -> Fault {
        match self {
            Self::Missing => Fault::at(ErrorCode::UpcallMissing, item, 0),
            Self::Busy => Fault::at(ErrorCode::Busy, item, 0),
            Self::Contained { cause, .. } => cause.fault(item),
            Self::Failed(error) => error.fault(item),
        }
    }
}

impl From<SubjectError> for UpcallError {
    fn from(error: SubjectError) -> Self {
        Self::Failed(error)
    }
}

/// The pages of upcalls of one processor: guest-virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Where upcalls begin.
    pub entry: u64,
    /// The stack.
    pub stack: u64,
    /// The scratch page, which follows the stack.
    pub scratch: u64,
}

impl Pages {
    /// Those of a processor.
    ///
    /// # Errors
    /// [`UpcallError::Missing`]
    pub fn of(upcalls: Option<Upcalls>, processor: u32) -> Result<Self, UpcallError> {
        let registered = upcalls.filter(|upcalls| processor < upcalls.processors);
        let Upcalls { entry, pages, .. } = registered.ok_or(UpcallError::Missing)?;
        let stack = pages.saturating_add(u64::from(processor) * UPCALL_PAGES * PAGE);
        Ok(Self { entry, stack, scratch: stack.saturating_add(PAGE) })
    }
}

/// Pages for copies of each processor.
pub const COPIES: usize = UPCALL_PAGES as usize - 2;

/// Makes an upcall, and comes back when it has ended. A failed one leaves stack and scratch page zero,
/// as it found the stack.
///
/// # Errors
/// [`UpcallError`]
pub fn call<P: Platform>(
    platform: &mut P,
    space: AddressSpace,
    pages: &Pages,
    (upcall, [rsi, rdx, rcx]): (Upcall, [u64; 3]),
    kind: Kind,
) -> Result<(), UpcallError> {
    let start = Registers {
        rip: pages.entry,
        rsp: pages.scratch,
        rflags: RFLAGS,
        rdi: upcall.number().into(),
        rsi,
        rdx,
        rcx,
        ..Registers::default()
    };
    let result = run(platform, &start, kind);
    let ended = platform.end_detour();
    if result.is_err() || ended.is_err() {
        wipe(platform, space, pages)?;
    }
    ended?;
    result
}

/// Fills stack and scratch page with zeros.
fn wipe<P: Platform>(
    platform: &mut P,
    space: AddressSpace,
    pages: &Pages,
) -> Result<(), SubjectError> {
    let zero = MemoryRequest::Zero { space, address: pages.stack, length: 2 * PAGE };
    platform.order(&zero).map_err(|failure| subject_error(failure, pages.stack))
}

fn run<P: Platform>(platform: &mut P, start: &Registers, kind: Kind) -> Result<(), UpcallError> {
    let mut run = Run::new(kind);
    let mut start = Some(start);
    let mut rip = 0;
    let mut mends = 0;
    loop {
        let steps = match run.next() {
            Next::Free => 0,
            Next::Steps(steps) => steps,
            Next::Finished => return Ok(()),
            Next::Busy => return Err(UpcallError::Busy),
            Next::Contained(cause) => return Err(UpcallError::Contained { cause, rip }),
        };
        let (reason, registers) = platform.confined(start.take(), steps)?;
        rip = registers.rip;
        match outcome(platform, reason, &registers)? {
            Some(outcome) => run.advance(outcome),
            None if mends == MENDS_MAX => {
                return Err(UpcallError::Contained { cause: Cause::Loops, rip });
            }
            None => {
                mends += 1;
                // Nobody knows how many steps were done.
                if steps > 0 {
                    run.advance(Outcome::Interrupted);
                }
            }
        }
    }
}

/// What an exit means; `None` when it goes on as if nothing had happened.
fn outcome<P: Platform>(
    platform: &mut P,
    reason: ExitReason,
    registers: &Registers,
) -> Result<Option<Outcome>, SubjectError> {
    Ok(Some(match reason {
        ExitReason::Stepped => Outcome::Stepped,
        ExitReason::Interrupted => Outcome::Interrupted,
        ExitReason::Hypercall if registers.rax == register_value(Call::Done) => {
            Outcome::Done { result: registers.rbx, detail: registers.rcx }
        }
        ExitReason::Exception(event) => Outcome::Exception(Exception {
            vector: event.vector,
            error_code: event.error_code,
            address: registers.cr2,
        }),
        ExitReason::NestedFault { gpa, access } => {
            let verdict = platform.nested_fault(gpa, access, View::Confined);
            match verdict.map_err(|failure| subject_error(failure, gpa))? {
                FaultVerdict::Mended => return Ok(None),
                FaultVerdict::Table => {
                    let opened = platform.order(&MemoryRequest::OpenTable { gpa });
                    opened.map_err(|failure| subject_error(failure, gpa))?;
                    return Ok(None);
                }
                _ if access.write => Outcome::Write { gpa },
                _ => Outcome::Device { gpa },
            }
        }
        ExitReason::InvalidState => return Err(SubjectError::Failed(Part::Kernel)),
        _ => Outcome::Exit,
    }))
}
