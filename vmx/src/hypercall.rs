//! Hypercalls.
//!
//! Two are answered here; the task `liveupdate` has the others.

use lucos_abi::registers::Registers;
use lucos_guest_interface::call::{CALL_BASE, CALL_NUMBER_MASK, Call, NO_ITEM};
use lucos_guest_interface::{ErrorCode, Fault, INTERFACE_VERSION, Part};
use lucos_service::{LiveupdateReply, LiveupdateRequest};

use crate::instruction::{address_space, behind};
use crate::outcome::{Exit, Facts, Outcome};
use crate::platform::Platform;
use crate::{interface, mailbox};

/// Handles an exit.
pub fn handle(platform: &mut impl Platform, facts: &Facts<'_>, exit: &Exit) -> Outcome {
    let rax = exit.registers.rax;
    let allowed = exit.registers.cpl == 0 && exit.registers.code_size == 64;
    // Without LUCOS the instruction is an invalid opcode; it stays one for everybody else.
    if !allowed || rax & !CALL_NUMBER_MASK != CALL_BASE {
        return Outcome::INVALID_OPCODE;
    }
    let Some(registers) = behind(platform, exit) else {
        return Outcome::GENERAL_PROTECTION;
    };
    // The mask leaves sixteen bits.
    let number = (rax & CALL_NUMBER_MASK) as u16;
    #[cfg(feature = "fault-injection")]
    if number == lucos_service::injection::CALL {
        return Outcome::Resume(inject(platform, number, registers));
    }
    match Call::from_number(number.into()) {
        Some(Call::Hello) => Outcome::Resume(hello(facts, registers)),
        Some(Call::Park) => {
            mailbox::wait(platform, facts);
            Outcome::Park
        }
        Some(_) => Outcome::Resume(forward(platform, number, registers)),
        None => Outcome::Resume(unknown(number, registers)),
    }
}

fn hello(facts: &Facts<'_>, registers: Registers) -> Registers {
    if registers.rbx != u64::from(INTERFACE_VERSION) {
        let fault = Fault::new(ErrorCode::InterfaceVersion, INTERFACE_VERSION.into());
        return failed(fault, registers);
    }
    Registers {
        rax: 0,
        rbx: INTERFACE_VERSION.into(),
        rcx: interface::features(facts.info).into(),
        rdx: facts.info.apic_ids.len() as u64,
        ..registers
    }
}

fn forward(platform: &mut impl Platform, number: u16, registers: Registers) -> Registers {
    let Some(space) = address_space(&registers) else {
        return failed(Fault::new(ErrorCode::Address, 0), registers);
    };
    let request = LiveupdateRequest::Hypercall {
        number,
        arguments: [registers.rbx, registers.rcx, registers.rdx, registers.rsi],
        space,
        again: platform.repeats(),
    };
    match platform.liveupdate(request) {
        Ok(LiveupdateReply::Results([rax, rbx, rcx, rdx])) => {
            Registers { rax, rbx, rcx, rdx, ..registers }
        }
        Ok(LiveupdateReply::NoSuchHypercall) => unknown(number, registers),
        Ok(_) | Err(_) => failed(Part::Liveupdate.fault(NO_ITEM), registers),
    }
}

/// A test orders a fault.
#[cfg(feature = "fault-injection")]
fn inject(platform: &mut impl Platform, number: u16, registers: Registers) -> Registers {
    let Registers { rbx, rcx, rdx, rsi, .. } = registers;
    if crate::injection::order([rbx, rcx, rdx, rsi]) {
        return Registers { rax: 0, ..registers };
    }
    forward(platform, number, registers)
}

fn unknown(number: u16, registers: Registers) -> Registers {
    failed(Fault::new(ErrorCode::UnknownCall, number.into()), registers)
}

fn failed(fault: Fault, registers: Registers) -> Registers {
    Registers {
        rax: fault.code.register_value(),
        rcx: fault.item.into(),
        rdx: fault.detail,
        ..registers
    }
}

#[cfg(test)]
mod tests {
    use super::handle;
    use crate::fake::{self, Fake};
    use crate::outcome::{Exit, Outcome};
    use crate::processors;
    use lucos_abi::object::ExitReason;
    use lucos_abi::registers::Registers;
    use lucos_guest_interface::call::{CALL_BASE, Call, register_value};
    use lucos_guest_interface::{ErrorCode, INTERFACE_VERSION};
    use lucos_service::client::Failure;
    use lucos_service::{LiveupdateReply, LiveupdateRequest};

    fn call(platform: &mut Fake, registers: Registers) -> Outcome {
        let exit = Exit { reason: ExitReason::Hypercall, instruction_length: 3, registers };
        let info = fake::info();
        handle(platform, &fake::facts(&info), &exit)
    }

    fn registers(call: Call) -> Registers {
        Registers {
            rax: register_value(call),
            rbx: INTERFACE_VERSION.into(),
            rcx: 2,
            rdx: 3,
            rsi: 4,
            ..fake::kernel_registers()
        }
    }

    fn resumed(outcome: Outcome) -> Registers {
        let Outcome::Resume(registers) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(registers.rip, fake::kernel_registers().rip + 3);
        registers
    }

    #[test]
    fn only_the_kernel_can_call() {
        let mut platform = Fake::new();
        for (cpl, code_size) in [(3, 64), (1, 64), (0, 32)] {
            let registers = Registers { cpl, code_size, ..registers(Call::Hello) };
            assert_eq!(call(&mut platform, registers), Outcome::INVALID_OPCODE);
        }
        for rax in [0, 0x4b4d_0000, CALL_BASE | 1 << 32] {
            let registers = Registers { rax, ..fake::kernel_registers() };
            assert_eq!(call(&mut platform, registers), Outcome::INVALID_OPCODE);
        }
        assert_eq!(platform.asked_liveupdate.len(), 0);
    }

    #[test]
    fn hello_agrees_on_the_version_or_names_it() {
        let mut platform = Fake::new();
        let hello = registers(Call::Hello);
        let after = resumed(call(&mut platform, hello));
        assert_eq!([after.rax, after.rbx, after.rcx, after.rdx], [0, 3, 0x1f, 3]);
        let newer = Registers { rbx: 4, ..hello };
        let after = resumed(call(&mut platform, newer));
        assert_eq!(ErrorCode::from_register(after.rax), Some(ErrorCode::InterfaceVersion));
        assert_eq!((after.rbx, after.rdx), (4, 3));
    }

    #[test]
    fn park_gives_the_processor_up() {
        let mut platform = Fake::new();
        platform.cpu = 1;
        processors::set_runs(&mut platform, 1, true);
        assert_eq!(call(&mut platform, registers(Call::Park)), Outcome::Park);
        assert!(!processors::runs(&platform, 1));
    }

    #[test]
    fn other_calls_go_to_liveupdate_with_their_arguments() {
        let mut platform = Fake::new();
        platform.liveupdate_reply = LiveupdateReply::Results([10, 11, 12, 13]);
        let after = resumed(call(&mut platform, registers(Call::Apply)));
        assert_eq!([after.rax, after.rbx, after.rcx, after.rdx, after.rsi], [10, 11, 12, 13, 4]);
        let LiveupdateRequest::Hypercall { number, arguments, space, again } =
            platform.asked_liveupdate[0]
        else {
            panic!("not a hypercall");
        };
        assert_eq!((number, arguments, again), (3, [3, 2, 3, 4], false));
        assert_eq!(space.root, fake::kernel_registers().cr3);
    }

    #[test]
    fn unknown_calls_and_failures_have_their_errors() {
        let code = |platform: &mut Fake, registers| {
            let after = resumed(call(platform, registers));
            assert_eq!(after.rcx, u32::MAX.into());
            ErrorCode::from_register(after.rax)
        };
        let mut platform = Fake::new();
        let unknown = Registers { rax: CALL_BASE | 0xffff, ..registers(Call::Apply) };
        assert_eq!(code(&mut platform, unknown), Some(ErrorCode::UnknownCall));
        platform.liveupdate_reply = LiveupdateReply::NoSuchHypercall;
        let apply = registers(Call::Apply);
        assert_eq!(code(&mut platform, apply), Some(ErrorCode::UnknownCall));
        platform.refuses = Some(Failure::Restarted);
        assert_eq!(code(&mut platform, apply), Some(ErrorCode::Internal));
    }
}
