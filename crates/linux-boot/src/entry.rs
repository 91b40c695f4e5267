//! What a processor of the guest starts with: identity page tables, segments, and the code to
//! which Linux sends a processor that it takes offline.

use lucos_abi::object::FlatStart;

use crate::PAGE_LENGTH;
use crate::fields::put;

/// Bytes of the page tables that map the first 4 GiB: two upper levels and four tables of 2 MiB
/// pages.
pub const TABLES_LENGTH: usize = 6 * PAGE_LENGTH;
/// Bytes that the page tables map, each onto itself.
pub const TABLES_MAP: u64 = 4 << 30;

const PRESENT_WRITABLE: u64 = 0x3;
/// Present, writable, accessed, dirty, 2 MiB.
const LARGE_PAGE: u64 = 0xe3;

/// Selector of the 64-bit code segment that the boot protocol asks for.
const CODE_SELECTOR: u16 = 0x10;
/// Selector of its data segment.
const DATA_SELECTOR: u16 = 0x18;
/// Two unused descriptors, flat 64-bit code, flat data. The accessed bits are set: the processor
/// need not write the table.
const DESCRIPTORS: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
/// Bytes of the segment descriptor table.
pub const DESCRIPTORS_LENGTH: usize = DESCRIPTORS.len() * 8;

/// Longest [`reset_code`] in bytes.
pub const RESET_CODE_MAX: usize = 16;

/// The instruction with which this machine's guest calls LUCOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallInstruction {
    /// AMD-V.
    Vmmcall,
    /// VT-x.
    Vmcall,
}

/// The segment descriptor table.
pub fn descriptors() -> [u8; DESCRIPTORS_LENGTH] {
    let mut bytes = [0; DESCRIPTORS_LENGTH];
    for (place, descriptor) in bytes.chunks_exact_mut(8).zip(DESCRIPTORS) {
        place.copy_from_slice(&descriptor.to_le_bytes());
    }
    bytes
}

/// Fills `tables`, which the guest sees at `base`, with page tables that map the first
/// [`TABLES_MAP`] bytes onto themselves. The root is at `base`.
///
/// Returns `false` when `tables` has not [`TABLES_LENGTH`] bytes.
#[must_use]
pub fn identity_tables(base: u64, tables: &mut [u8]) -> bool {
    if tables.len() != TABLES_LENGTH {
        return false;
    }
    tables.fill(0);
    let table = |number: usize| base + (number * PAGE_LENGTH) as u64;
    let mut complete = put(tables, 0, &(table(1) | PRESENT_WRITABLE).to_le_bytes());
    for gib in 0..4 {
        let entry = table(2 + gib) | PRESENT_WRITABLE;
        complete &= put(tables, PAGE_LENGTH + gib * 8, &entry.to_le_bytes());
    }
    for page in 0..4 * 512 {
        let entry = (page as u64) << 21 | LARGE_PAGE;
        complete &= put(tables, 2 * PAGE_LENGTH + page * 8, &entry.to_le_bytes());
    }
    complete
}

/// Machine code at the reset vector: hypercall `call` (the value for EAX), and if that should ever
/// return, a halt for ever.
pub fn reset_code(call: u32, instruction: CallInstruction) -> [u8; RESET_CODE_MAX] {
    let last = match instruction {
        CallInstruction::Vmmcall => 0xd9,
        CallInstruction::Vmcall => 0xc1,
    };
    let [a, b, c, d] = call.to_le_bytes();
    // mov eax, call; vmmcall or vmcall; cli; hlt; jmp to the cli
    [0xb8, a, b, c, d, 0x0f, 0x01, last, 0xfa, 0xf4, 0xeb, 0xfc, 0xcc, 0xcc, 0xcc, 0xcc]
}

/// The state in which a processor of the guest starts.
pub fn start_state(rip: u64, rsi: u64, tables: u64, descriptors: u64) -> FlatStart {
    FlatStart {
        rip,
        rsi,
        cr3: tables,
        gdt_base: descriptors,
        gdt_limit: (DESCRIPTORS_LENGTH - 1) as u16,
        code_selector: CODE_SELECTOR,
        data_selector: DATA_SELECTOR,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CallInstruction, TABLES_LENGTH, TABLES_MAP, descriptors, identity_tables, reset_code,
        start_state,
    };
    use crate::fields::u64_at;

    /// Walks tables at `base` as the processor does.
    fn translate(base: u64, tables: &[u8], address: u64) -> Option<u64> {
        let entry = |table: u64, index: u64| {
            let value = u64_at(tables, usize::try_from(table - base + index * 8).unwrap()).unwrap();
            (value & 1 != 0).then_some(value)
        };
        let frame = 0x000f_ffff_ffff_f000;
        let pointers = entry(base, address >> 39 & 511)? & frame;
        let directory = entry(pointers, address >> 30 & 511)? & frame;
        let page = entry(directory, address >> 21 & 511)?;
        assert_ne!(page & 0x80, 0, "a large page");
        Some((page & frame & !0x1f_ffff) + (address & 0x1f_ffff))
    }

    #[test]
    fn the_first_4_gib_map_onto_themselves_and_nothing_else_does() {
        let base = 0x7fff_2000;
        let mut tables = vec![0xaa; TABLES_LENGTH];
        assert!(identity_tables(base, &mut tables));
        for address in [0, 0x1234, 0x1f_ffff, 0x20_0000, 0x7fff_2000, TABLES_MAP - 1] {
            assert_eq!(translate(base, &tables, address), Some(address));
        }
        for address in [TABLES_MAP, 1 << 39, 1 << 47] {
            assert_eq!(translate(base, &tables, address), None);
        }
        assert!(!identity_tables(base, &mut tables[..4096]));
    }

    #[test]
    fn the_selectors_name_flat_segments() {
        let state = start_state(1, 2, 3, 4);
        let descriptor = |selector: u16| u64_at(&descriptors(), usize::from(selector)).unwrap();
        assert!(usize::from(state.gdt_limit) + 1 == descriptors().len());
        let code = descriptor(state.code_selector);
        assert_eq!(code >> 53 & 1, 1, "64-bit");
        assert_eq!(code >> 40 & 0xff, 0x9b, "present code, accessed");
        assert_eq!(descriptor(state.data_selector) >> 40 & 0xff, 0x93);
    }

    #[test]
    fn reset_code_calls_and_then_stops() {
        let code = reset_code(0x4c55_0009, CallInstruction::Vmmcall);
        assert_eq!(code[..8], [0xb8, 0x09, 0, 0x55, 0x4c, 0x0f, 0x01, 0xd9]);
        assert_eq!(reset_code(0, CallInstruction::Vmcall)[7], 0xc1);
        // The jump ends at 12 and goes back to the cli at 8.
        assert_eq!(12 + i32::from(code[11] as i8), 8);
    }
}
