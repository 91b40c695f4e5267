//! Is the instruction that left the guest really a plain CPUID?
//!
//! A processor without next-RIP save does not tell the length of an instruction. CPUID has two
//! bytes, unless somebody put prefixes before it; so the bytes are looked up before RIP is moved.

use crate::memory::guest_ram;
use lucos_paging::guest_walk;
use lucos_svm::Vmcb;

const CPUID: [u8; 2] = [0x0f, 0xa2];
const EFER_LMA: u64 = 1 << 10;
const CR4_LA57: u64 = 1 << 12;

/// The instruction at RIP is CPUID without prefixes. False also where that cannot be seen at once:
/// then a task looks more closely.
pub fn is_plain_cpuid(vmcb: &Vmcb) -> bool {
    let save = vmcb.save();
    if save.efer & EFER_LMA == 0 || save.rip & 0xfff == 0xfff {
        return false;
    }
    let long_code = save.cs.attributes & 1 << 9 != 0;
    let address =
        if long_code { save.rip } else { save.cs.base.wrapping_add(save.rip) & 0xffff_ffff };
    let read = |gpa| {
        let mut entry = [0; 8];
        guest_ram::read(gpa, &mut entry)?;
        Some(u64::from_le_bytes(entry))
    };
    let five_levels = save.cr4 & CR4_LA57 != 0;
    let Ok(page) = guest_walk(read, save.cr3, five_levels, address) else {
        return false;
    };
    let mut bytes = [0; 2];
    guest_ram::read(page.gpa, &mut bytes).is_some() && bytes == CPUID
}
