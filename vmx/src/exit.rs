//! Which module handles an exit.

use lucos_abi::object::{Event, ExitReason};

use crate::outcome::{Exit, Facts, INVALID_OPCODE, Outcome, note};
use crate::platform::Platform;
use crate::{
    caches, hypercall, init, invalid_opcode, msr, nested_fault, ports, shutdown, virtualization,
};

/// Handles an exit at which this task has failed again and again: the instruction is not carried out
/// but raises an exception, if it is one that can.
pub fn give_up(platform: &mut impl Platform, facts: &Facts<'_>, exit: &Exit) -> Outcome {
    let outcome = match exit.reason {
        ExitReason::Hypercall | ExitReason::Exception(Event { vector: INVALID_OPCODE, .. }) => {
            Outcome::INVALID_OPCODE
        }
        ExitReason::ReadMsr
        | ExitReason::WriteMsr
        | ExitReason::InvalidateCaches
        | ExitReason::Port(_)
        | ExitReason::NestedFault { .. } => Outcome::GENERAL_PROTECTION,
        _ => return handle(platform, facts, exit),
    };
    note(platform, format_args!("the exit at {:#x} cannot be handled", exit.registers.rip));
    outcome
}

/// Handles an exit.
pub fn handle(platform: &mut impl Platform, facts: &Facts<'_>, exit: &Exit) -> Outcome {
    match answer(platform, facts, exit) {
        Outcome::Resume(mut registers) => match registers.complete() {
            true => Outcome::Step(registers),
            false => Outcome::Resume(registers),
        },
        other => other,
    }
}

fn answer(platform: &mut impl Platform, facts: &Facts<'_>, exit: &Exit) -> Outcome {
    match exit.reason {
        ExitReason::Hypercall => hypercall::handle(platform, facts, exit),
        ExitReason::ReadMsr => msr::handle_read(platform, facts, exit),
        ExitReason::WriteMsr => msr::handle_write(platform, exit),
        ExitReason::Virtualization => virtualization::handle(),
        ExitReason::Port(access) => ports::handle(platform, exit, access),
        ExitReason::InvalidateCaches => caches::handle(platform, exit),
        ExitReason::Exception(Event { vector: INVALID_OPCODE, .. }) => {
            invalid_opcode::handle(platform, exit)
        }
        // One that was asked for by no task, and so is the guest's own.
        ExitReason::Exception(event) => Outcome::Fault(event),
        ExitReason::NestedFault { gpa, access } => {
            nested_fault::handle(platform, facts, exit, gpa, access)
        }
        // Of confined runs only, which are not this task's.
        ExitReason::Stepped | ExitReason::Interrupted => Outcome::Repeat,
        ExitReason::Shutdown => shutdown::handle(platform, &exit.registers),
        ExitReason::Init => init::handle(platform, facts),
        ExitReason::InvalidState => shutdown::handle_invalid_state(platform, &exit.registers),
        ExitReason::Other { code, info1, info2 } => {
            shutdown::handle_unknown(platform, &exit.registers, [code, info1, info2])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{give_up, handle};
    use crate::fake::{self, Fake};
    use crate::outcome::{Exit, Outcome};
    use lucos_abi::object::{Event, ExitReason};
    use lucos_abi::registers::Registers;
    use lucos_service::LiveupdateReply;

    const TRAP_FLAG: u64 = 1 << 8;
    const RESUME_FLAG: u64 = 1 << 16;

    /// Every kind of instruction that is carried out here.
    fn instructions() -> Vec<(ExitReason, Registers)> {
        let kernel = fake::kernel_registers();
        let with = |rax, rcx| Registers { rax, rcx, rbx: 3, ..kernel };
        vec![
            (ExitReason::Hypercall, with(0x4c55_0000, 0)),
            (ExitReason::ReadMsr, with(0, 0x4000_004c)),
            (ExitReason::WriteMsr, with(0xd01, 0xc000_0080)),
            (ExitReason::InvalidateCaches, with(0, 0)),
            (ExitReason::Exception(Event { vector: 6, error_code: None }), with(0, 0)),
        ]
    }

    #[test]
    fn an_exception_that_no_task_asked_for_is_the_guests() {
        let info = fake::info();
        for error_code in [None, Some(7)] {
            let event = Event { vector: 17, error_code };
            let exit = Exit {
                reason: ExitReason::Exception(event),
                instruction_length: 0,
                registers: fake::kernel_registers(),
            };
            let outcome = handle(&mut Fake::new(), &fake::facts(&info), &exit);
            assert_eq!(outcome, Outcome::Fault(event));
        }
    }

    #[test]
    fn what_cannot_be_handled_is_an_exception_of_the_guest() {
        let info = fake::info();
        let facts = fake::facts(&info);
        for (reason, registers) in instructions() {
            let exit = Exit { reason, instruction_length: 2, registers };
            let mut platform = Fake::new();
            let outcome = give_up(&mut platform, &facts, &exit);
            assert!(matches!(outcome, Outcome::Fault(_)), "{reason:?}");
            assert_eq!(platform.log.len(), 1);
            assert!(platform.written.is_empty() && platform.asked_liveupdate.is_empty());
        }
    }

    #[test]
    fn a_carried_out_instruction_ends_shadow_and_resume_flag_and_steps() {
        let info = fake::info();
        let facts = fake::facts(&info);
        for (reason, registers) in instructions() {
            let mut platform = Fake::new();
            platform.liveupdate_reply = LiveupdateReply::Redirect { rip: 0x1234 };
            let mut outcome = |rflags| {
                let registers =
                    Registers { rflags, interrupt_shadow: 1, dr6: 0xffff_0ff0, ..registers };
                handle(&mut platform, &facts, &Exit { reason, instruction_length: 2, registers })
            };
            let Outcome::Resume(after) = outcome(RESUME_FLAG | 2) else {
                panic!("{reason:?} is not carried out");
            };
            assert_ne!(after.rip, registers.rip);
            assert_eq!((after.rflags, after.interrupt_shadow, after.dr6), (2, 0, 0xffff_0ff0));
            let Outcome::Step(after) = outcome(RESUME_FLAG | TRAP_FLAG | 2) else {
                panic!("{reason:?} does not step");
            };
            assert_eq!((after.rflags, after.dr6), (TRAP_FLAG | 2, 0xffff_4ff0));
        }
    }
}
