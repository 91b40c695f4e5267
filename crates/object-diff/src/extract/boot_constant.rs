//! Constants that the kernel writes into its own code once, during boot (`runtime-const.h`).
//!
//! A module never gets them. A pointer in new code becomes a load of the variable that it comes
//! from, as the kernel's headers make modules do. For a number of bits to shift by there is no room
//! for that: the module has to write it before the patch is applied.

use object::elf;
use object::write::SymbolId;

use super::cutter::{Cutter, Use};
use crate::extraction::BootShifts;
use crate::tables::{self, Carry};
use crate::view::{Entity, Entry, Role};
use crate::writer::{Naming, Placed};

/// `mov $imm64, %reg`: REX.W, opcode, eight bytes.
const MOVE_LENGTH: usize = 10;

/// The code of a load in place of a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// As long as the instruction that loads the constant; the distance is zero.
    pub(crate) code: [u8; MOVE_LENGTH],
    /// Where the distance to the variable stands.
    pub(crate) field: u64,
    /// Where the load ends, from which the distance counts.
    pub(crate) end: u64,
}

/// Makes a load of the 10 bytes of an instruction that moves a constant into a register.
pub(crate) fn load_instead(instruction: &[u8]) -> Option<Load> {
    let [rex @ (0x48 | 0x49), opcode @ 0xb8..=0xbf, constant @ ..] = instruction else {
        return None;
    };
    if constant.len() != 8 {
        return None;
    }
    // The register's high bit: REX.B there, REX.R here.
    let rex = if rex & 1 != 0 { 0x4c } else { 0x48 };
    // mov distance(%rip), %reg; then a NOP of three bytes.
    let operands = ((opcode & 7) << 3) | 0b101;
    let code = [rex, 0x8b, operands, 0, 0, 0, 0, 0x0f, 0x1f, 0x00];
    Some(Load { code, field: 3, end: 7 })
}

/// `shr $imm8, %reg`: opcode and the register's extension, in front of the constant.
fn is_shift(instruction: &[u8]) -> bool {
    matches!(instruction, [0xc1, 0xe8..=0xef, _])
}

/// Where the opcode is, REX included, two bytes in front of the constant that an entry marks.
fn instruction_start(entity: &Entity<'_>, entry: &Entry) -> Option<u64> {
    let constant = entity.entry.checked_add_signed(entry.at)?;
    constant.checked_sub(2).filter(|start| (entity.start..entity.end).contains(start))
}

impl Cutter<'_, '_> {
    /// Deals with the constants in an entity that the kernel fills in during boot.
    pub(super) fn boot_constants(&mut self, index: usize, entity: &Entity<'_>, placed: Placed) {
        let subject = self.subject;
        for entry in subject.patched.entries_of(index) {
            let Some(Role::Table(table)) = subject.patched.roles.get(entry.section) else {
                continue;
            };
            if table.carry != Carry::BootConstant {
                continue;
            }
            let Some(marks) = subject.patched.section(entry.section) else { continue };
            if self.boot_constant(entity, entry, marks.name, placed).is_none() {
                self.fail(format!("{} marks an unknown instruction", marks.name));
            }
        }
    }

    /// Deals with one constant; `marks` is the name of the table's section, which has that of the
    /// variable. `None` when the instruction is unknown.
    fn boot_constant(
        &mut self,
        entity: &Entity<'_>,
        entry: &Entry,
        marks: &str,
        placed: Placed,
    ) -> Option<()> {
        let start = instruction_start(entity, entry)?;
        let home = self.subject.patched.section(entity.section)?;
        let at = start - entity.start;
        if let Some(variable) = marks.strip_prefix(tables::BOOT_POINTER) {
            let load = load_instead(home.bytes(start, start + MOVE_LENGTH as u64))?;
            let symbol = self.boot_variable(variable)?;
            return self.load_variable(placed, at, &load, symbol);
        }
        let variable = marks.strip_prefix(tables::BOOT_SHIFT)?;
        if !is_shift(home.bytes(start, start + 3)) {
            return None;
        }
        let symbol = self.boot_variable(variable)?;
        self.shifts.push((Placed { offset: placed.offset + at + 2, ..placed }, symbol));
        Some(())
    }

    fn load_variable(
        &mut self,
        placed: Placed,
        at: u64,
        load: &Load,
        symbol: SymbolId,
    ) -> Option<()> {
        let addend = load.field as i64 - load.end as i64;
        let field = at + load.field;
        let written = self.writer.overwrite(placed, at, &load.code)
            && self.writer.relocate(placed, field, elf::R_X86_64_PC32, symbol, addend).is_ok();
        written.then_some(())
    }

    fn boot_variable(&mut self, name: &str) -> Option<SymbolId> {
        match self.subject.patched.named(name) {
            Some(own) => self.data(own),
            None => Some(self.external(name, Use::Address)),
        }
    }

    /// Puts what the module has to fill in into a table.
    pub(super) fn table_of_shifts(&mut self) -> Option<BootShifts> {
        const ENTRY: u64 = 16;
        let shifts = std::mem::take(&mut self.shifts);
        let count = shifts.len();
        let size = count as u64 * ENTRY;
        if count == 0 {
            return None;
        }
        let flags = elf::SHF_ALLOC.0 | elf::SHF_WRITE.0;
        let table = self.writer.place(".data", flags, &vec![0; size as usize], 8);
        for (at, (site, variable)) in (0..).step_by(ENTRY as usize).zip(shifts) {
            let code = self.writer.section_symbol(site.section);
            let fields = [(at, code, site.offset as i64), (at + 8, variable, 0)];
            for (at, symbol, addend) in fields {
                let done = self.writer.relocate(table, at, elf::R_X86_64_64, symbol, addend);
                if let Err(error) = done {
                    self.fail(error.to_string());
                }
            }
        }
        let symbol = format!("lucos_shifts{}", super::object_tag(self.subject.input.name));
        self.writer.define(&symbol, table, size, Naming::Data, false);
        Some(BootShifts { symbol, count })
    }
}

#[cfg(test)]
mod tests {
    use super::load_instead;
    use iced_x86::{Decoder, DecoderOptions, Mnemonic, Register};

    #[test]
    fn every_register_is_loaded_from_memory() {
        for number in 0..16_u8 {
            let mut old = vec![0x48 | (number >> 3), 0xb8 | (number & 7)];
            old.extend(0x0123_4567_89ab_cdef_u64.to_le_bytes());
            let load = load_instead(&old).unwrap();
            let decode = |code: &[u8]| {
                Decoder::with_ip(64, code, 0, DecoderOptions::NONE).iter().collect::<Vec<_>>()
            };
            let (before, after) = (decode(&old), decode(&load.code));
            assert_eq!(after.len(), 2);
            assert_eq!(after[0].mnemonic(), Mnemonic::Mov);
            assert_eq!(after[0].op0_register(), before[0].op0_register());
            assert_eq!(after[0].memory_base(), Register::RIP);
            assert_eq!(after[0].len() as u64, load.end);
            assert_eq!(after[1].mnemonic(), Mnemonic::Nop);
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        assert_eq!(load_instead(&[0x90; 10]), None);
        assert_eq!(load_instead(&[0x48, 0xb8, 0, 0]), None);
        assert_eq!(load_instead(&[]), None);
    }
}
