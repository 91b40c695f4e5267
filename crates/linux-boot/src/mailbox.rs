//! The mailbox of the ACPI multiprocessor wake-up structure (ACPI 6.5, 5.2.12.19).
//!
//! The guest writes a processor's local APIC id and an address, then the command. Whoever acts on
//! it clears the command.

use crate::fields::{u16_at, u32_at, u64_at};

/// Bytes of the mailbox: one page.
pub const LENGTH: usize = 4096;
/// Bytes from its start that [`Command::read`] needs.
pub const COMMAND_BYTES: usize = 16;
/// Offset of the command word.
pub const COMMAND_OFFSET: u64 = 0;
/// Bytes of the command word.
pub const COMMAND_LENGTH: u64 = 2;

/// What the guest asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing.
    Noop,
    /// Start a processor.
    Wakeup {
        /// Its local APIC id.
        apic_id: u32,
        /// Where, in 64-bit mode.
        vector: u64,
    },
    /// Clear the command if that processor waits for the mailbox.
    Test {
        /// Its local APIC id.
        apic_id: u32,
    },
    /// A command without meaning.
    Unknown(u16),
}

impl Command {
    /// The command in a mailbox's first [`COMMAND_BYTES`] bytes; `None` when there are fewer.
    pub fn read(mailbox: &[u8]) -> Option<Self> {
        let apic_id = u32_at(mailbox, 4)?;
        let vector = u64_at(mailbox, 8)?;
        Some(match u16_at(mailbox, 0)? {
            0 => Self::Noop,
            1 => Self::Wakeup { apic_id, vector },
            2 => Self::Test { apic_id },
            other => Self::Unknown(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Command;

    #[test]
    fn commands_are_read_with_their_operands() {
        let mut mailbox = [0; 16];
        mailbox[4..8].copy_from_slice(&0x1234_u32.to_le_bytes());
        mailbox[8..].copy_from_slice(&0x9_8000_u64.to_le_bytes());
        let mut command = |number| {
            mailbox[0] = number;
            Command::read(&mailbox)
        };
        assert_eq!(command(0), Some(Command::Noop));
        assert_eq!(command(1), Some(Command::Wakeup { apic_id: 0x1234, vector: 0x9_8000 }));
        assert_eq!(command(2), Some(Command::Test { apic_id: 0x1234 }));
        assert_eq!(command(3), Some(Command::Unknown(3)));
        assert_eq!(Command::read(&mailbox[..15]), None);
    }
}
