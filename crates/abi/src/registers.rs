//! The register block of a vCPU.
//!
//! Register values are kernel addresses most of the time; as postcard integers each would take ten
//! bytes and ten steps. So the block travels as one byte string inside a message.

/// Number of registers in the block.
pub const COUNT: usize = 30;
/// Bytes of an encoded block.
pub const SIZE: usize = COUNT * 8;

/// EFER.LME: long mode, once there is paging.
pub const EFER_LME: u64 = 1 << 8;
/// EFER.LMA: long mode.
pub const EFER_LMA: u64 = 1 << 10;
/// EFER.NXE: pages can forbid execution.
pub const EFER_NXE: u64 = 1 << 11;

/// RFLAGS.TF: a debug exception after the next instruction.
pub const RFLAGS_TRAP: u64 = 1 << 8;
/// RFLAGS.RF: no breakpoint at the next instruction.
const RFLAGS_RESUME: u64 = 1 << 16;
/// DR6.BS: the debug exception is that of a single step.
pub const DR6_SINGLE_STEP: u64 = 1 << 14;

/// Defines the block, and how its registers follow one another, from one list of them.
macro_rules! block {
    ($(#[$about:meta])* pub struct $block:ident {
        $($(#[$doc:meta])* pub $register:ident: u64,)*
    }) => {
        $(#[$about])*
        pub struct $block {
            $($(#[$doc])* pub $register: u64,)*
        }

        impl $block {
            const fn as_array(&self) -> [u64; COUNT] {
                [$(self.$register),*]
            }

            const fn from_array([$($register),*]: [u64; COUNT]) -> Self {
                Self { $($register),* }
            }
        }
    };
}

block! {
    /// The registers of a vCPU that a task sees.
    ///
    /// `Run` writes back the general registers, `rip`, `rflags` and `interrupt_shadow`, and sets
    /// [`DR6_SINGLE_STEP`] when it is set; a changed value in any other field is ignored. Control
    /// registers and EFER are the guest's own view (EFER without the virtualization bit).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[repr(C)]
    pub struct Registers {
        /// RAX
        pub rax: u64,
        /// RBX
        pub rbx: u64,
        /// RCX
        pub rcx: u64,
        /// RDX
        pub rdx: u64,
        /// RSI
        pub rsi: u64,
        /// RDI
        pub rdi: u64,
        /// RBP
        pub rbp: u64,
        /// RSP
        pub rsp: u64,
        /// R8
        pub r8: u64,
        /// R9
        pub r9: u64,
        /// R10
        pub r10: u64,
        /// R11
        pub r11: u64,
        /// R12
        pub r12: u64,
        /// R13
        pub r13: u64,
        /// R14
        pub r14: u64,
        /// R15
        pub r15: u64,
        /// RIP
        pub rip: u64,
        /// RFLAGS
        pub rflags: u64,
        /// CR0
        pub cr0: u64,
        /// CR2
        pub cr2: u64,
        /// CR3
        pub cr3: u64,
        /// CR4
        pub cr4: u64,
        /// EFER as the guest sees it
        pub efer: u64,
        /// DR6
        pub dr6: u64,
        /// Current privilege level, 0 to 3
        pub cpl: u64,
        /// 64, 32 or 16: the size of code that runs
        pub code_size: u64,
        /// 1 while interrupts are held off for one instruction (after STI or MOV SS)
        pub interrupt_shadow: u64,
        /// Base of the code segment
        pub cs_base: u64,
        /// Base of the interrupt table
        pub idt_base: u64,
        /// Base of GS, by which a kernel's is told from that of a program
        pub gs_base: u64,
    }
}

impl Registers {
    /// The block as bytes, little endian, in field order.
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes.copy_from_slice(self.as_array().map(u64::to_le_bytes).as_flattened());
        bytes
    }

    /// The block that `bytes` hold; `None` when they are not exactly [`SIZE`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (values, rest) = bytes.as_chunks();
        let values = <[_; COUNT]>::try_from(values).ok().filter(|_| rest.is_empty())?;
        Some(Self::from_array(values.map(u64::from_le_bytes)))
    }

    /// What an instruction leaves that was carried out for the guest, beside `rip` and its results
    /// (APM vol. 2, 13.1.4 and 15.21.5). True when it ends in the debug exception of a single step.
    pub fn complete(&mut self) -> bool {
        self.interrupt_shadow = 0;
        self.rflags &= !RFLAGS_RESUME;
        let steps = self.rflags & RFLAGS_TRAP != 0;
        if steps {
            self.dr6 |= DR6_SINGLE_STEP;
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::{Registers, SIZE};
    use proptest::prelude::*;

    #[test]
    fn a_block_of_another_size_is_refused() {
        assert_eq!(Registers::from_bytes(&[0; SIZE - 1]), None);
        assert_eq!(Registers::from_bytes(&[0; SIZE + 1]), None);
    }

    #[test]
    fn the_struct_has_no_field_outside_the_block() {
        assert_eq!(size_of::<Registers>(), SIZE);
    }

    #[test]
    fn a_completed_instruction_ends_what_held_for_it_and_steps() {
        let before = Registers { rflags: 1 << 16 | 2, interrupt_shadow: 1, ..Registers::default() };
        let mut after = before;
        assert!(!after.complete());
        assert_eq!(after, Registers { rflags: 2, ..Registers::default() });
        let mut stepping = Registers { rflags: 1 << 16 | 1 << 8 | 2, dr6: 0xffff_0ff1, ..before };
        assert!(stepping.complete());
        assert_eq!((stepping.rflags, stepping.dr6), (1 << 8 | 2, 0xffff_4ff1));
    }

    proptest! {
        #[test]
        fn bytes_round_trip(bytes in prop::collection::vec(any::<u8>(), SIZE)) {
            let registers = Registers::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&registers.to_bytes()[..], &bytes[..]);
        }
    }
}
