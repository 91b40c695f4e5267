//! The kernel's address space: the direct map with the kernel image in it, write or execute. The
//! boot stub has built its tables.

use super::PAGE;
use super::direct::{Pages, Tables};
use crate::arch::cpuid;
use crate::fatal::Fatal;
use lucos_abi::layout::DIRECT;
use lucos_paging::{Format, Mapping, PageSize, PageTable, Rights};
use spin::{Mutex, Once};
use x86::controlregs::cr3_write;

static ROOT: Once<u64> = Once::new();
/// Held while the tables change.
static EDIT: Mutex<()> = Mutex::new(());

/// The kernel's own table.
pub fn table() -> PageTable {
    table_at(ROOT.get().copied().unwrap_or(0))
}

/// A table of the kernel's or a task's, with this root.
pub fn table_at(root: u64) -> PageTable {
    PageTable { format: Format::LongMode, root, largest: largest_page() }
}

/// The largest page that this processor can use.
pub fn largest_page() -> PageSize {
    if cpuid::has(cpuid::HUGE_PAGES) { PageSize::Huge } else { PageSize::Large }
}

/// Switches to the tables with this root, for good.
pub fn start(root: u64) {
    ROOT.call_once(|| root);
    use_it();
}

/// Switches this processor to the kernel's address space.
pub fn use_it() {
    // SAFETY: the table maps the kernel at the address where it runs: the stub built it so.
    unsafe { cr3_write(table().root) };
}

/// Changes what is mapped. Which processors must forget what was there is for the caller to know.
pub fn set(mapping: Mapping) -> Result<(), Fatal> {
    let _edit = EDIT.lock();
    table().set(&mut Tables::default(), mapping).map(|_| ()).map_err(|_| Fatal::OutOfMemory)
}

/// Maps a page of a device at its place in the direct map; the address of `phys` there. Only while
/// the machine starts.
///
/// # Errors
/// The region is full.
pub fn map_device(phys: u64) -> Result<u64, Fatal> {
    let page = phys & !(PAGE - 1);
    let rights = Rights { uncached: true, ..Rights::READ_WRITE };
    set(Mapping { virt: DIRECT + page, phys: page, length: PAGE, rights })?;
    Ok(DIRECT + phys)
}

/// Makes a stack of so many pages, with a page below it that is mapped nowhere: who runs out of it
/// faults. Returns the address of its end.
///
/// # Errors
/// The region is full.
pub fn allocate_stack(pages: u64) -> Result<u64, Fatal> {
    let guard = Pages::allocate(1 + pages).ok_or(Fatal::OutOfMemory)?.phys();
    unmap(DIRECT + guard)?;
    Ok(DIRECT + guard + (1 + pages) * PAGE)
}

/// Takes a page away, so that it guards what lies above it. Only while the machine starts: no other
/// processor uses what lies above it.
///
/// # Errors
/// The region is full.
fn unmap(virt: u64) -> Result<(), Fatal> {
    set(Mapping { virt, phys: 0, length: PAGE, rights: Rights::NONE })?;
    use_it();
    Ok(())
}
