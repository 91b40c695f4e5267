//! Accesses that the guest space does not allow.

use lucos_abi::layout::PAGE;
use lucos_abi::object::{Access, View};
use lucos_service::client::Failure;
use lucos_service::{FaultVerdict, LiveupdateReply, LiveupdateRequest};
use lucos_x86_code::store::decode_store;

use crate::instruction::{Code, address_space, step};
use crate::mailbox;
use crate::outcome::{Exit, Facts, Outcome, note};
use crate::platform::Platform;
use crate::shutdown;

/// Handles an exit.
pub fn handle(
    platform: &mut impl Platform,
    facts: &Facts<'_>,
    exit: &Exit,
    gpa: u64,
    access: Access,
) -> Outcome {
    let (rip, cr3) = (exit.registers.rip, exit.registers.cr3);
    match platform.nested_fault(gpa, access, View::Main) {
        Ok(FaultVerdict::Mended) | Err(Failure::Restarted) => Outcome::Repeat,
        Ok(FaultVerdict::Guarded) if !access.table_walk => {
            guarded_store(platform, facts, exit, gpa)
        }
        Ok(FaultVerdict::Carried) => carried_write(platform, exit, gpa, access),
        // Without a root of its page tables the processor finds no handler for any fault.
        Ok(_) if access.table_walk && gpa / PAGE == cr3 / PAGE => {
            shutdown::handle_lost_tables(platform, &exit.registers)
        }
        Ok(verdict) => {
            note(platform, format_args!("{verdict:?}: {access:?} of {gpa:#x} at {rip:#x}"));
            Outcome::GENERAL_PROTECTION
        }
        Err(error) => {
            note(platform, format_args!("access to {gpa:#x} at {rip:#x}: {error}"));
            Outcome::GENERAL_PROTECTION
        }
    }
}

/// Lets `liveupdate` do a write to a page whose writes are carried.
fn carried_write(platform: &mut impl Platform, exit: &Exit, gpa: u64, access: Access) -> Outcome {
    // Nothing of the guest has other page tables while an update manager is registered.
    let Some(space) = address_space(&exit.registers) else {
        return Outcome::GENERAL_PROTECTION;
    };
    let implicit = access.delivery || access.table_walk;
    match platform.liveupdate(LiveupdateRequest::GuardedWrite { gpa, space, implicit }) {
        Ok(LiveupdateReply::RunOn) => Outcome::Repeat,
        Ok(LiveupdateReply::Fault(event)) => Outcome::Fault(event),
        answer => {
            // Others wait until what was begun here is finished.
            let finished = platform.liveupdate(LiveupdateRequest::Finish);
            let rip = exit.registers.rip;
            note(platform, format_args!("write to {gpa:#x} at {rip:#x}: {answer:?}, {finished:?}"));
            Outcome::Repeat
        }
    }
}

/// Does a store to a guarded page in the guest's place.
fn guarded_store(
    platform: &mut impl Platform,
    facts: &Facts<'_>,
    exit: &Exit,
    gpa: u64,
) -> Outcome {
    let registers = &exit.registers;
    let Some(code) = Code::fetch(platform, registers) else {
        return Outcome::GENERAL_PROTECTION;
    };
    let store = match decode_store(code.bytes(), registers) {
        Ok(store) => store,
        Err(error) => {
            let rip = registers.rip;
            note(platform, format_args!("store to guarded {gpa:#x} at {rip:#x}: {error:?}"));
            return Outcome::GENERAL_PROTECTION;
        }
    };
    let in_page = gpa % PAGE;
    // A store that reaches into the page from the one before it faults at the page's start; and
    // the guest may have changed the instruction since.
    let one_page = in_page + u64::from(store.width) <= PAGE;
    if store.address % PAGE != in_page || !one_page {
        note(platform, format_args!("store to guarded {gpa:#x} crosses a page"));
        return Outcome::GENERAL_PROTECTION;
    }
    let value = store.value.to_le_bytes();
    let bytes = value.get(..usize::from(store.width)).unwrap_or_default();
    if let Err(error) = platform.write_physical(gpa, bytes) {
        note(platform, format_args!("store to guarded {gpa:#x}: {error}"));
        return Outcome::GENERAL_PROTECTION;
    }
    if mailbox::is_command(facts, gpa, store.width) {
        mailbox::carry_out(platform, facts);
    } else {
        mailbox::prepare(platform);
    }
    Outcome::Resume(step(registers, store.length))
}

#[cfg(test)]
mod tests {
    use super::handle;
    use crate::fake::{self, APIC_ID_OF_1, Fake, MAILBOX};
    use crate::outcome::{Exit, Outcome};
    use lucos_abi::object::{Access, Event, ExitReason};
    use lucos_service::client::Failure;
    use lucos_service::{AddressSpace, FaultVerdict, LiveupdateReply, LiveupdateRequest};

    const WRITE: Access =
        Access { write: true, execute: false, present: true, table_walk: false, delivery: false };

    /// The guest stores at `gpa`, with RDI pointing at its page and RAX as the value.
    fn store(platform: &mut Fake, code: &[u8], rax: u64, gpa: u64) -> Outcome {
        platform.code = code.to_vec();
        let mut registers = fake::kernel_registers();
        registers.rax = rax;
        registers.rdi = 0xffff_8880_0000_0000 | gpa & !0xfff;
        let exit = Exit {
            reason: ExitReason::NestedFault { gpa, access: WRITE },
            instruction_length: 0,
            registers,
        };
        let info = fake::info();
        handle(platform, &fake::facts(&info), &exit, gpa, WRITE)
    }

    /// The three stores with which Linux wakes a processor.
    #[test]
    fn a_processor_is_woken_by_the_stores_of_linux() {
        let mut platform = Fake::new();
        platform.verdict = FaultVerdict::Guarded;
        let id = APIC_ID_OF_1.into();
        let steps: [(&[u8], u64, u64); 3] = [
            (&[0x89, 0x47, 0x04], id, 4),             // mov [rdi+4], eax
            (&[0x48, 0x89, 0x47, 0x08], 0x9_8000, 8), // mov [rdi+8], rax
            (&[0x66, 0xc7, 0x07, 0x01, 0x00], 0, 0),  // mov word [rdi], 1
        ];
        for (code, rax, offset) in steps {
            let Outcome::Resume(after) = store(&mut platform, code, rax, MAILBOX + offset) else {
                panic!("not resumed at {offset}");
            };
            assert_eq!(after.rip, fake::kernel_registers().rip + code.len() as u64);
        }
        assert_eq!(platform.started.len(), 1);
        assert_eq!(platform.started[0].1.rip, 0x9_8000);
        assert_eq!(platform.memory.bytes(MAILBOX, 2), [0, 0]);
    }

    #[test]
    fn stores_to_other_guarded_pages_are_just_done() {
        let mut platform = Fake::new();
        platform.verdict = FaultVerdict::Guarded;
        let code = &[0x88, 0x47, 0x10]; // mov [rdi+16], al
        let outcome = store(&mut platform, code, 0xff5a, 0x5000_0010);
        assert!(matches!(outcome, Outcome::Resume(_)));
        assert_eq!(platform.memory.bytes(0x5000_0010, 2), [0x5a, 0]);
        assert_eq!(platform.started.len(), 0);
    }

    #[test]
    fn what_is_no_plain_store_or_crosses_the_page_is_a_fault_and_writes_nothing() {
        let mut platform = Fake::new();
        platform.verdict = FaultVerdict::Guarded;
        let add = store(&mut platform, &[0x01, 0x07], 1, MAILBOX);
        assert_eq!(add, Outcome::GENERAL_PROTECTION);
        // mov [rdi+4092], rax
        let code = &[0x48, 0x89, 0x87, 0xfc, 0x0f, 0, 0];
        let crossing = store(&mut platform, code, 1, MAILBOX + 0xffc);
        assert_eq!(crossing, Outcome::GENERAL_PROTECTION);
        // The instruction stores elsewhere than the fault says.
        let other = store(&mut platform, &[0x89, 0x47, 0x04], 1, MAILBOX + 8);
        assert_eq!(other, Outcome::GENERAL_PROTECTION);
        assert_eq!(platform.memory.bytes(MAILBOX, 16), [0; 16]);
    }

    #[test]
    fn a_carried_write_is_done_by_liveupdate() {
        let event = Event { vector: 14, error_code: Some(2) };
        for (reply, outcome) in [
            (LiveupdateReply::RunOn, Outcome::Repeat),
            (LiveupdateReply::Fault(event), Outcome::Fault(event)),
            (LiveupdateReply::NotOurs, Outcome::Repeat),
        ] {
            let mut platform = Fake::new();
            platform.verdict = FaultVerdict::Carried;
            platform.liveupdate_reply = reply;
            assert_eq!(store(&mut platform, &[0x89, 0x07], 0, 0x5000_0010), outcome);
            let space = AddressSpace { root: fake::kernel_registers().cr3, five_levels: false };
            let write =
                LiveupdateRequest::GuardedWrite { gpa: 0x5000_0010, space, implicit: false };
            assert_eq!(platform.asked_liveupdate[0], write);
            let finishes = reply == LiveupdateReply::NotOurs;
            let asked = if finishes { vec![write, LiveupdateRequest::Finish] } else { vec![write] };
            assert_eq!(platform.asked_liveupdate, asked);
        }
        // Also where the processor walks page tables, were it their root.
        assert_eq!(walk(FaultVerdict::Carried, MAILBOX, Some(MAILBOX)), Outcome::Repeat);
    }

    #[test]
    fn hidden_memory_is_a_fault_and_mended_memory_is_tried_again() {
        let code = &[0x89, 0x07];
        for (verdict, outcome) in [
            (FaultVerdict::Hidden, Outcome::GENERAL_PROTECTION),
            (FaultVerdict::Outside, Outcome::GENERAL_PROTECTION),
            (FaultVerdict::Mended, Outcome::Repeat),
        ] {
            let mut platform = Fake::new();
            platform.verdict = verdict;
            assert_eq!(store(&mut platform, code, 0, 0x7f80_0000), outcome);
        }
        let mut platform = Fake::new();
        platform.refuses = Some(Failure::Restarted);
        assert_eq!(store(&mut platform, code, 0, 0x7f80_0000), Outcome::Repeat);
    }

    /// The processor walks page tables at `gpa`, with CR3 as it is in Linux or at `root`.
    fn walk(verdict: FaultVerdict, gpa: u64, root: Option<u64>) -> Outcome {
        let mut platform = Fake::new();
        platform.verdict = verdict;
        let mut registers = fake::kernel_registers();
        registers.cr3 = root.unwrap_or(registers.cr3);
        let access = Access { table_walk: true, ..WRITE };
        let reason = ExitReason::NestedFault { gpa, access };
        let exit = Exit { reason, instruction_length: 0, registers };
        let info = fake::info();
        handle(&mut platform, &fake::facts(&info), &exit, gpa, access)
    }

    #[test]
    fn page_tables_that_cannot_be_used_are_a_fault_and_their_root_is_a_shutdown() {
        for verdict in [FaultVerdict::Guarded, FaultVerdict::Hidden, FaultVerdict::Outside] {
            assert_eq!(walk(verdict, MAILBOX, None), Outcome::GENERAL_PROTECTION);
            // CR3 has flags in its low bits, the access is of one entry.
            assert_eq!(walk(verdict, MAILBOX + 0xff8, Some(MAILBOX | 0x18)), Outcome::Reset);
        }
        assert_eq!(walk(FaultVerdict::Mended, MAILBOX, Some(MAILBOX)), Outcome::Repeat);
    }
}
