//! Starting processors by the mailbox.
//!
//! The mailbox page is guarded, so the guest's stores to it come here one by one. A processor that
//! is told to start is started wherever it is: it waits in LUCOS, or it stands halted in the guest,
//! where older kernels leave a processor that they took offline.

use lucos_linux_boot::entry::start_state;
use lucos_linux_boot::mailbox::{COMMAND_BYTES, COMMAND_LENGTH, COMMAND_OFFSET, Command};
use lucos_service::client::Failure;
use lucos_system_info::SystemInfo;

use crate::outcome::{Facts, note};
use crate::platform::Platform;
use crate::processors;

/// Whether a store of `width` bytes at `gpa` touches the command.
pub fn is_command(facts: &Facts<'_>, gpa: u64, width: u8) -> bool {
    let command = facts.places.mailbox + COMMAND_OFFSET;
    gpa < command + COMMAND_LENGTH && command < gpa.saturating_add(u64::from(width))
}

/// The guest prepares a command: what came before it is over.
pub fn prepare(platform: &mut impl Platform) {
    let me = platform.cpu();
    processors::set_woken(platform, me, None);
}

/// Carries out the command that stands in the mailbox now.
///
/// If this task is restarted after that, and before the guest goes on behind its store, then the
/// guest repeats the store. A processor must not be started twice by that, so what was done is
/// noted until the next command is prepared by a store to its operands.
pub fn carry_out(platform: &mut impl Platform, facts: &Facts<'_>) {
    match read(platform, facts) {
        Ok(Command::Noop) => {}
        Ok(Command::Wakeup { apic_id, vector }) => wake(platform, facts, apic_id, vector),
        Ok(Command::Test { apic_id }) => {
            let waits =
                cpu(facts.info, apic_id).is_some_and(|cpu| !processors::runs(platform, cpu));
            if waits {
                acknowledge(platform, facts);
            }
        }
        Ok(Command::Unknown(command)) => {
            note(platform, format_args!("mailbox: unknown command {command}"));
        }
        Err(error) => note(platform, format_args!("mailbox: {error}")),
    }
}

/// Notes that the calling processor waits from now on, and answers the guest if it has asked for
/// that already.
pub fn wait(platform: &mut impl Platform, facts: &Facts<'_>) {
    let me = platform.cpu();
    // First the note, then the look at the command: whoever asks looks in the other order.
    processors::set_runs(platform, me, false);
    if let Ok(Command::Test { apic_id }) = read(platform, facts)
        && cpu(facts.info, apic_id) == Some(me)
    {
        acknowledge(platform, facts);
    }
}

/// Wakes a processor. The guest waits without end for the answer, and then a bounded time for the
/// processor; so it gets the answer also when nobody comes (the processor was added later, and is
/// not LUCOS's).
fn wake(platform: &mut impl Platform, facts: &Facts<'_>, apic_id: u32, vector: u64) {
    start(platform, facts, apic_id, vector);
    acknowledge(platform, facts);
}

fn start(platform: &mut impl Platform, facts: &Facts<'_>, apic_id: u32, vector: u64) {
    let Some(target) = cpu(facts.info, apic_id) else {
        let text = format_args!("mailbox: LUCOS has no processor with APIC id {apic_id}");
        return note(platform, text);
    };
    let me = platform.cpu();
    if target == me {
        // The store itself would be lost, and with it whatever the guest meant.
        let text = format_args!("mailbox: processor {target} starts itself, which means nothing");
        return note(platform, text);
    }
    if processors::has_woken(platform, me, target) {
        return;
    }
    let state = start_state(vector, 0, facts.places.tables, facts.places.descriptors);
    let ran = processors::runs(platform, target);
    processors::set_runs(platform, target, true);
    // Noted first: a processor that has just started can make this task fail at once.
    processors::set_woken(platform, me, Some(target));
    if let Err(error) = platform.start(target, state) {
        processors::set_woken(platform, me, None);
        processors::set_runs(platform, target, ran);
        note(platform, format_args!("mailbox: processor {target} does not start: {error}"));
    }
}

fn read(platform: &mut impl Platform, facts: &Facts<'_>) -> Result<Command, Failure> {
    let mut bytes = [0; COMMAND_BYTES];
    platform.read_physical(facts.places.mailbox, &mut bytes)?;
    Command::read(&bytes).ok_or(Failure::Protocol)
}

fn acknowledge(platform: &mut impl Platform, facts: &Facts<'_>) {
    let command = facts.places.mailbox + COMMAND_OFFSET;
    let done = [0; COMMAND_LENGTH as usize];
    if let Err(error) = platform.write_physical(command, &done) {
        note(platform, format_args!("mailbox: {error}"));
    }
}

/// The number of the processor with this local APIC id.
fn cpu(info: &SystemInfo, apic_id: u32) -> Option<u32> {
    let position = info.apic_ids.iter().position(|&id| id == apic_id)?;
    u32::try_from(position).ok()
}

#[cfg(test)]
mod tests {
    use super::{carry_out, is_command, prepare, wait};
    use crate::fake::{self, APIC_ID_OF_1, Fake, MAILBOX};
    use crate::processors;
    use lucos_abi::call::CallStatus;
    use lucos_service::client::Failure;

    /// Puts a command into the mailbox and carries it out.
    fn command(platform: &mut Fake, command: u16, apic_id: u32, vector: u64) {
        platform.memory.put(MAILBOX, &command.to_le_bytes());
        platform.memory.put(MAILBOX + 4, &apic_id.to_le_bytes());
        platform.memory.put(MAILBOX + 8, &vector.to_le_bytes());
        let info = fake::info();
        carry_out(platform, &fake::facts(&info));
    }

    fn pending(platform: &Fake) -> u16 {
        u16::from_le_bytes(platform.memory.bytes(MAILBOX, 2).try_into().unwrap())
    }

    #[test]
    fn a_processor_is_started_in_64_bit_mode_and_the_command_cleared() {
        let mut platform = Fake::new();
        command(&mut platform, 1, APIC_ID_OF_1, 0x9_8000);
        let (cpu, state) = platform.started[0];
        assert_eq!(cpu, 1);
        assert_eq!((state.rip, state.rsi), (0x9_8000, 0));
        assert_eq!(state.cr3, MAILBOX + 0x2000);
        assert_eq!(pending(&platform), 0);
        assert!(processors::runs(&platform, 1));
    }

    #[test]
    fn a_repeated_command_starts_nobody_again_until_another_is_prepared() {
        let mut platform = Fake::new();
        command(&mut platform, 1, APIC_ID_OF_1, 0x9_8000);
        command(&mut platform, 1, APIC_ID_OF_1, 0x9_8000);
        assert_eq!((platform.started.len(), pending(&platform)), (1, 0));
        command(&mut platform, 1, 0x22, 0x9_8000);
        assert_eq!(platform.started.len(), 2, "another processor");
        prepare(&mut platform);
        command(&mut platform, 1, 0x22, 0x9_8000);
        assert_eq!(platform.started.len(), 3);
    }

    #[test]
    fn unknown_processors_and_the_caller_itself_are_answered_but_not_started() {
        let mut platform = Fake::new();
        for apic_id in [77, 0] {
            command(&mut platform, 1, apic_id, 0x9_8000);
            assert_eq!(platform.started.len(), 0);
            assert_eq!(pending(&platform), 0, "the guest would wait for ever");
        }
    }

    #[test]
    fn a_start_that_fails_is_answered_and_can_be_repeated() {
        let mut platform = Fake::new();
        platform.refuses = Some(Failure::Kernel(CallStatus::Refused));
        command(&mut platform, 1, APIC_ID_OF_1, 0x9_8000);
        assert_eq!(pending(&platform), 0);
        assert!(!processors::runs(&platform, 1));
        platform.refuses = None;
        command(&mut platform, 1, APIC_ID_OF_1, 0x9_8000);
        assert_eq!(platform.started.len(), 1);
    }

    #[test]
    fn a_test_is_acknowledged_once_the_processor_waits() {
        let mut platform = Fake::new();
        command(&mut platform, 1, APIC_ID_OF_1, 0x9_8000);
        command(&mut platform, 2, APIC_ID_OF_1, 0);
        assert_eq!(pending(&platform), 2, "it runs");

        let info = fake::info();
        let facts = fake::facts(&info);
        platform.cpu = 2;
        wait(&mut platform, &facts);
        assert_eq!(pending(&platform), 2, "another one waits");
        platform.cpu = 1;
        wait(&mut platform, &facts);
        assert_eq!(pending(&platform), 0);

        platform.cpu = 0;
        command(&mut platform, 2, APIC_ID_OF_1, 0);
        assert_eq!(pending(&platform), 0, "it waits already");
    }

    #[test]
    fn a_waiting_processor_leaves_other_commands_alone() {
        let mut platform = Fake::new();
        platform.cpu = 1;
        platform.memory.put(MAILBOX, &[1, 0]);
        platform.memory.put(MAILBOX + 4, &APIC_ID_OF_1.to_le_bytes());
        let info = fake::info();
        wait(&mut platform, &fake::facts(&info));
        assert_eq!(pending(&platform), 1);
    }

    #[test]
    fn stores_beside_the_command_are_no_command() {
        let info = fake::info();
        let facts = fake::facts(&info);
        let is =
            |offset: i64, width| is_command(&facts, MAILBOX.wrapping_add_signed(offset), width);
        assert!(is(0, 1) && is(1, 1) && is(0, 8) && is(-1, 2));
        assert!(!is(2, 2) && !is(4, 4) && !is(-1, 1) && !is(-8, 8));
    }
}
