//! Is the instruction that left the guest really a plain CPUID?
//!
//! A processor without next-RIP save does not tell the length of an instruction. CPUID has two
//! bytes, unless somebody put prefixes before it; so the bytes are looked up before RIP is moved.
//!
//! A program executes dozens of CPUIDs in a few pages. So the walk through the guest's page tables
//! that found one is kept: while its entries are as they were, it would find the same, and the walk
//! to a page close by differs in its last entry only.

use crate::memory::guest_ram::{Entry, Page};
use lucos_paging::guest_walk;
use lucos_svm::{Save, Vmcb};

const CPUID: [u8; 2] = [0x0f, 0xa2];
const EFER_LMA: u64 = 1 << 10;
const CR4_LA57: u64 = 1 << 12;
const LONG_CODE: u16 = 1 << 9;
/// Offset of the last byte in a page: an instruction of two bytes does not begin there.
const LAST: u64 = 0xfff;
/// Entries of a walk through four levels of tables.
const LEVELS: usize = 4;
/// What the last table of a walk maps.
const TABLE: u64 = 1 << 21;
const PRESENT: u64 = 1;
const ADDRESS: u64 = 0xf_ffff_ffff_f000;

/// The last walk that led to a page of 64-bit code.
#[derive(Debug, Default)]
pub struct CodePage(Option<Walk>);

#[derive(Clone, Copy, Debug)]
struct Walk {
    cr3: u64,
    cr4: u64,
    efer: u64,
    /// The virtual address of the page.
    address: u64,
    /// The entries of the tables, and what they were. A walk that ends early repeats its last one.
    entries: [(Entry, u64); LEVELS],
    page: Page,
}

impl CodePage {
    /// The instruction at RIP is CPUID without prefixes. False also where that cannot be seen at
    /// once: then a task looks more closely.
    #[inline(always)]
    pub fn has_plain_cpuid(&mut self, vmcb: &Vmcb) -> bool {
        let save = vmcb.save();
        if let Some(walk) = &self.0
            && save.cs.attributes & LONG_CODE != 0
            && walk.would_be_the_same(save)
        {
            let offset = save.rip ^ walk.address;
            if offset < LAST {
                return walk.page.code(offset) == CPUID;
            }
        }
        self.walk(save)
    }

    #[cold]
    #[inline(never)]
    fn walk(&mut self, save: &Save) -> bool {
        let long_code = save.cs.attributes & LONG_CODE != 0;
        let kept = self.0.take().filter(|_| long_code);
        if save.efer & EFER_LMA == 0 || save.rip & LAST == LAST {
            return false;
        }
        if let Some(walk) = kept.and_then(|kept| kept.turned(save)) {
            return self.0.insert(walk).page.code(save.rip & LAST) == CPUID;
        }
        let address =
            if long_code { save.rip } else { save.cs.base.wrapping_add(save.rip) & 0xffff_ffff };
        let mut entries = heapless::Vec::<_, LEVELS>::new();
        let read = |gpa| {
            let entry = Entry::new(gpa)?;
            let value = entry.read();
            // The fifth level does not fit; such a walk is not kept.
            let _ = entries.push((entry, value));
            Some(value)
        };
        let five_levels = save.cr4 & CR4_LA57 != 0;
        let Ok(found) = guest_walk(read, save.cr3, five_levels, address) else {
            return false;
        };
        let Some(page) = Page::new(found.gpa & !LAST) else {
            return false;
        };
        if let Some(&last) = entries.last() {
            let _ = entries.resize(LEVELS, last);
        }
        if long_code && !five_levels {
            let &Save { cr3, cr4, efer, rip, .. } = save;
            let walk = |entries| Walk { cr3, cr4, efer, address: rip & !LAST, entries, page };
            self.0 = entries.into_array().ok().map(walk);
        }
        page.code(found.gpa & LAST) == CPUID
    }
}

impl Walk {
    /// Not a loop: this is executed by programs all the time.
    #[inline(always)]
    fn would_be_the_same(&self, save: &Save) -> bool {
        let same = |(entry, value): (Entry, u64)| entry.read() == value;
        let [first, second, third, fourth] = self.entries;
        let registers = self.cr3 == save.cr3 && self.cr4 == save.cr4 && self.efer == save.efer;
        registers && same(first) && same(second) && same(third) && same(fourth)
    }

    /// The walk to another page of the last table.
    fn turned(&self, save: &Save) -> Option<Self> {
        let [first, second, third, (last, _)] = self.entries;
        if (save.rip ^ self.address) >= TABLE || last == third.0 {
            return None;
        }
        let entry = last.in_same_table(save.rip / (LAST + 1));
        let value = entry.read();
        let page = Page::new(value & ADDRESS).filter(|_| value & PRESENT != 0)?;
        let entries = [first, second, third, (entry, value)];
        let walk = Self { address: save.rip & !LAST, entries, page, ..*self };
        walk.would_be_the_same(save).then_some(walk)
    }
}
