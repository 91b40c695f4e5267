//! What stands in the way of a redirection at a place of a function.
//!
//! A redirection first takes one byte, the trap, at the *site*; later a jump takes five, the
//! *window*, and the rest of the last instruction that they touch is *displaced* with them. The
//! analysis reads the whole function and reports what could carry a thread into the window or back
//! to the site. It reports facts; what follows from them is the caller's decision.

use heapless::Vec;
use iced_x86::{Code, Instruction, Mnemonic, Register};

use crate::branch::{self, Place, TableUse};
use crate::decoder::decoder;
use crate::jump::JUMP_LENGTH;

/// Longest function that is analysed, in bytes.
pub const FUNCTION_MAX: usize = 128 * 1024;

/// Most address tables that are remembered.
pub const TABLES_MAX: usize = 16;

/// Why a function cannot be analysed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowError {
    /// The function is empty or longer than [`FUNCTION_MAX`], or wraps around the address space.
    Length,
    /// The site is not inside the function.
    SiteOutside,
    /// The site is not the start of an instruction.
    SiteNotABoundary,
    /// The bytes at this offset of the function are no instruction.
    Undecodable {
        /// Offset from the start of the function.
        offset: usize,
    },
    /// A breakpoint instruction stands before the site, so boundaries cannot be known there.
    Breakpoint {
        /// Offset from the start of the function.
        offset: usize,
    },
}

/// A branch, by the address of its first byte and of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Address of the branch.
    pub from: u64,
    /// Where it goes.
    pub to: u64,
}

/// What the analysis found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Address of the site.
    pub site: u64,
    /// Bytes that a jump displaces, 5 to 19; `None` when the function ends before.
    pub displaced: Option<u8>,
    /// Bit n is set when an instruction starts n bytes behind the site; bits 0 to 4 are used.
    pub boundaries: u8,
    /// Address of the first instruction before the site that does more than mark the entry (with
    /// ENDBR) or leave room there (with a `nop`, or a call of a tracer in its place). Behind such
    /// an instruction, registers and stack are not those of a call any more.
    pub not_entry: Option<u64>,
    /// A branch or call of the function that goes between the first and the last byte of the
    /// window.
    pub branch_inside: Option<Branch>,
    /// A branch (not a call) of the function that goes to the site.
    pub branch_to_site: Option<Branch>,
    /// Address of a breakpoint instruction that replaces another instruction. Behind it,
    /// boundaries are guesses; branches are searched for at every byte there.
    pub breakpoint: Option<u64>,
    /// Addresses of tables of 8-byte addresses through which the function may jump.
    pub tables: Vec<u64, TABLES_MAX>,
    /// Address of an indirect jump whose targets cannot be known: its table is not at a fixed
    /// address, or there are more than [`TABLES_MAX`].
    pub unknown_jump: Option<u64>,
}

impl Window {
    /// Whether `address` is inside the window but not the site.
    pub fn is_inside(&self, address: u64) -> bool {
        is_inside(self.site, address)
    }
}

fn is_inside(site: u64, address: u64) -> bool {
    (1..u64::from(JUMP_LENGTH)).contains(&address.wrapping_sub(site))
}

/// Analyses the function whose bytes are `code` and whose first byte is at `start`, for a site
/// `site_offset` bytes behind `start`.
///
/// Filling behind the last instruction may be part of `code`.
///
/// # Errors
/// [`WindowError`]
pub fn analyse(code: &[u8], start: u64, site_offset: usize) -> Result<Window, WindowError> {
    let fits = code.len() <= FUNCTION_MAX && start.checked_add(code.len() as u64).is_some();
    if code.is_empty() || !fits {
        return Err(WindowError::Length);
    }
    if site_offset >= code.len() {
        return Err(WindowError::SiteOutside);
    }
    let mut sweep = Sweep::new(start, site_offset);
    sweep.run(code)?;
    sweep.finish(code)
}

/// One pass over all instructions of a function, in the order of their addresses.
struct Sweep {
    start: u64,
    site_offset: usize,
    window: Window,
    /// The registers filled from tables whose address is in a register; [`Register::None`] for a
    /// table of distances.
    computed: Vec<Register, 16>,
    /// The indirect jumps to an address in a register.
    jumps: Vec<(u64, Register), 16>,
    /// More tables, loads or jumps than there is room for.
    overflow: bool,
    /// What the instruction before is; [`Code::INVALID`] before the first one.
    previous: Code,
}

impl Sweep {
    fn new(start: u64, site_offset: usize) -> Self {
        Self {
            start,
            site_offset,
            window: Window {
                site: start.wrapping_add(site_offset as u64),
                displaced: None,
                boundaries: 0,
                not_entry: None,
                branch_inside: None,
                branch_to_site: None,
                breakpoint: None,
                tables: Vec::new(),
                unknown_jump: None,
            },
            computed: Vec::new(),
            jumps: Vec::new(),
            overflow: false,
            previous: Code::INVALID,
        }
    }

    fn run(&mut self, code: &[u8]) -> Result<(), WindowError> {
        let mut decoder = decoder(code, self.start);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            let offset = decoder.position();
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() {
                return self.stop_at(code, offset);
            }
            self.boundary(offset, instruction.len())?;
            self.entry(&instruction, offset);
            self.branch(&instruction);
            self.table(&instruction);
            self.breakpoint(&instruction, code, offset)?;
            self.previous = instruction.code();
        }
        Ok(())
    }

    /// Bytes that do not decode: fine when they are a last byte of zero filling, or behind a
    /// breakpoint, which hides where instructions start.
    fn stop_at(&self, code: &[u8], offset: usize) -> Result<(), WindowError> {
        let filling = code.get(offset..) == Some(&[0]);
        if filling || self.window.breakpoint.is_some() {
            return Ok(());
        }
        Err(WindowError::Undecodable { offset })
    }

    fn boundary(&mut self, offset: usize, length: usize) -> Result<(), WindowError> {
        let site = self.site_offset;
        if offset < site && offset + length > site {
            return Err(WindowError::SiteNotABoundary);
        }
        let Some(behind) = offset.checked_sub(site) else {
            return Ok(());
        };
        if behind < usize::from(JUMP_LENGTH) {
            self.window.boundaries |= 1 << behind;
            let end = behind + length;
            if end >= usize::from(JUMP_LENGTH) {
                // At most 4 + 15.
                self.window.displaced = u8::try_from(end).ok();
            }
        }
        Ok(())
    }

    fn entry(&mut self, instruction: &Instruction, offset: usize) {
        if offset >= self.site_offset {
            return;
        }
        let marks =
            matches!(instruction.mnemonic(), Mnemonic::Endbr64 | Mnemonic::Nop | Mnemonic::Call);
        if !marks {
            self.window.not_entry.get_or_insert(instruction.ip());
        }
    }

    fn branch(&mut self, instruction: &Instruction) {
        let Some(to) = branch::target(instruction) else {
            return;
        };
        let from = instruction.ip();
        let call = instruction.mnemonic() == Mnemonic::Call;
        self.note_branch(Branch { from, to }, call);
    }

    /// A call of the site is a call of the function, from wherever it comes.
    fn note_branch(&mut self, branch: Branch, call: bool) {
        if is_inside(self.window.site, branch.to) {
            self.window.branch_inside.get_or_insert(branch);
        } else if branch.to == self.window.site && !call {
            self.window.branch_to_site.get_or_insert(branch);
        }
    }

    fn table(&mut self, instruction: &Instruction) {
        match branch::table_use(instruction) {
            Some(
                TableUse::Jump(Place::Table(address)) | TableUse::Load(Place::Table(address), _),
            ) => {
                if !self.window.tables.contains(&address) {
                    self.overflow |= self.window.tables.push(address).is_err();
                }
            }
            Some(TableUse::Jump(Place::Computed)) => {
                self.window.unknown_jump.get_or_insert(instruction.ip());
            }
            Some(TableUse::Load(Place::Computed, register)) => {
                // A distance is added to something, and the sum can be in any register.
                let distance = instruction.mnemonic() == Mnemonic::Movsxd;
                let register = if distance { Register::None } else { register };
                if !self.computed.contains(&register) {
                    self.overflow |= self.computed.push(register).is_err();
                }
            }
            Some(TableUse::JumpTo(register)) => {
                self.overflow |= self.jumps.push((instruction.ip(), register)).is_err();
            }
            Some(TableUse::Jump(Place::Other) | TableUse::Load(Place::Other, _)) | None => {}
        }
    }

    /// INT3 that fills no gap replaces the first byte of an instruction for a while.
    fn breakpoint(
        &mut self,
        instruction: &Instruction,
        code: &[u8],
        offset: usize,
    ) -> Result<(), WindowError> {
        if instruction.code() != Code::Int3 || self.window.breakpoint.is_some() {
            return Ok(());
        }
        // Behind a call that never returns, filling starts without an end of flow.
        let filling = |rest: &[u8]| rest.iter().all(|byte| matches!(byte, 0xcc | 0x90));
        if branch::ends_flow(self.previous) || code.get(offset..).is_some_and(filling) {
            return Ok(());
        }
        if offset < self.site_offset {
            return Err(WindowError::Breakpoint { offset });
        }
        self.window.breakpoint = Some(instruction.ip());
        Ok(())
    }

    fn finish(mut self, code: &[u8]) -> Result<Window, WindowError> {
        if self.window.boundaries & 1 == 0 {
            // Only bytes behind a breakpoint are left out, and none stands before the site.
            return Err(WindowError::SiteNotABoundary);
        }
        if let Some(address) = self.window.breakpoint {
            let offset = address.wrapping_sub(self.start) as usize;
            let rest = code.get(offset..).unwrap_or_default();
            for (from, to) in branch::possible_targets(rest, address) {
                self.note_branch(Branch { from, to }, false);
            }
        }
        let from_table = |register: Register| {
            self.overflow
                || self.computed.contains(&Register::None)
                || self.computed.contains(&register)
        };
        let unknown = self
            .jumps
            .iter()
            .find(|(_, register)| from_table(*register))
            .map(|&(address, _)| address);
        self.window.unknown_jump = self.window.unknown_jump.or(unknown);
        Ok(self.window)
    }
}

#[cfg(test)]
mod tests;
