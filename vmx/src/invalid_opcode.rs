//! Invalid opcodes: the trap bytes of redirected functions, and the guest's own.

use lucos_abi::registers::Registers;
use lucos_service::client::Failure;
use lucos_service::{LiveupdateReply, LiveupdateRequest};

use crate::instruction::address_space;
use crate::outcome::{Exit, Outcome};
use crate::platform::Platform;

/// Handles an exit.
pub fn handle(platform: &mut impl Platform, exit: &Exit) -> Outcome {
    let registers = &exit.registers;
    // Only kernel functions are redirected.
    let space = address_space(registers).filter(|_| registers.cpl == 0);
    let (Some(space), 64) = (space, registers.code_size) else {
        return Outcome::INVALID_OPCODE;
    };
    let request = LiveupdateRequest::InvalidOpcode { rip: registers.rip, space, cpl: 0 };
    match platform.liveupdate(request) {
        Ok(LiveupdateReply::Redirect { rip }) => Outcome::Resume(Registers { rip, ..*registers }),
        // The byte is still there: asking again is right, whatever it is.
        Err(Failure::Restarted) => Outcome::Repeat,
        Ok(_) | Err(_) => Outcome::INVALID_OPCODE,
    }
}

#[cfg(test)]
mod tests {
    use super::handle;
    use crate::fake::{self, Fake};
    use crate::outcome::{Exit, Outcome};
    use lucos_abi::object::{Event, ExitReason};
    use lucos_abi::registers::Registers;
    use lucos_service::LiveupdateReply;
    use lucos_service::client::Failure;

    fn opcode(platform: &mut Fake, registers: Registers) -> Outcome {
        let exit = Exit {
            reason: ExitReason::Exception(Event { vector: 6, error_code: None }),
            instruction_length: 0,
            registers,
        };
        handle(platform, &exit)
    }

    #[test]
    fn a_redirected_function_goes_on_in_the_new_one() {
        let mut platform = Fake::new();
        platform.liveupdate_reply = LiveupdateReply::Redirect { rip: 0x1234 };
        let registers = fake::kernel_registers();
        assert_eq!(
            opcode(&mut platform, registers),
            Outcome::Resume(Registers { rip: 0x1234, ..registers })
        );
    }

    #[test]
    fn the_guests_own_are_handed_back() {
        let mut platform = Fake::new();
        let own = |platform: &mut Fake, registers| {
            assert_eq!(opcode(platform, registers), Outcome::INVALID_OPCODE);
        };
        own(&mut platform, fake::kernel_registers());
        assert_eq!(platform.asked_liveupdate.len(), 1);
        platform.liveupdate_reply = LiveupdateReply::Redirect { rip: 0x1234 };
        let kernel = fake::kernel_registers();
        own(&mut platform, Registers { cpl: 3, ..kernel });
        let compatibility = Registers { code_size: 32, ..kernel };
        own(&mut platform, compatibility);
        own(&mut platform, Registers { efer: 0, ..kernel });
        assert_eq!(platform.asked_liveupdate.len(), 1, "nobody was asked");
        platform.refuses = Some(Failure::Protocol);
        own(&mut platform, kernel);
    }

    #[test]
    fn a_restart_of_liveupdate_is_no_invalid_opcode() {
        let mut platform = Fake::new();
        platform.refuses = Some(Failure::Restarted);
        let outcome = opcode(&mut platform, fake::kernel_registers());
        assert_eq!(outcome, Outcome::Repeat);
    }
}
