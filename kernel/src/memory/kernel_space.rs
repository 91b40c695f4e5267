//! The kernel's address space: the direct map with the kernel image in it, write or execute.

use super::PAGE;
use super::direct::{Tables, read_mapped};
use crate::arch::{control, cpuid};
use crate::fatal::Fatal;
use lucos_abi::boot::{BootRecord, Content};
use lucos_abi::layout::DIRECT;
use lucos_paging::{Format, Mapping, PageSize, PageTable, Rights};
use spin::Once;

static ROOT: Once<u64> = Once::new();

/// The kernel's own table.
pub fn table() -> PageTable {
    PageTable {
        format: Format::LongMode,
        root: ROOT.get().copied().unwrap_or(0),
        largest: largest_page(),
    }
}

/// The largest page that this processor can use.
pub fn largest_page() -> PageSize {
    if cpuid::has_huge_pages() { PageSize::Huge } else { PageSize::Large }
}

/// Reads what lies at a physical address that the boot stub mapped.
pub fn read_early(phys: u64, buffer: &mut [u8]) -> Option<()> {
    let end = phys.checked_add(buffer.len() as u64)?;
    if end > 1 << 32 {
        return None;
    }
    // SAFETY: the boot stub maps the first 4 GiB, and this is called before the kernel's own
    // tables replace the stub's.
    unsafe { read_mapped(phys, buffer) };
    Some(())
}

/// Builds the tables and switches to them. Later calls of `start` only switch (other processors).
///
/// # Errors
/// The region is too small.
pub fn start(record: &BootRecord) -> Result<(), Fatal> {
    let mut tables = Tables::default();
    let root = super::direct::Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
    ROOT.call_once(|| root);
    for range in record.memory.iter().filter(|range| range.kind.is_guest_ram()) {
        map_direct(&mut tables, range.start, range.end(), Rights::READ_WRITE)?;
    }
    for segment in &record.segments {
        let rights = match segment.content {
            Content::Constants => Rights::READ,
            Content::Code => Rights::READ_EXECUTE,
            Content::Data => Rights::READ_WRITE,
        };
        map_direct(&mut tables, segment.start, segment.end, rights)?;
    }
    let behind_image = record.kernel.end().next_multiple_of(PAGE);
    map_direct(&mut tables, behind_image, record.region.end(), Rights::READ_WRITE)?;
    use_it();
    super::slot::start()
}

/// Switches this processor to the kernel's address space.
pub fn use_it() {
    // SAFETY: the table maps the kernel at the address where it runs: `start` built it so.
    unsafe { control::set_root(table().root) };
}

/// Maps whole pages of the direct map.
fn map_direct(tables: &mut Tables, start: u64, end: u64, rights: Rights) -> Result<(), Fatal> {
    let length = end.saturating_sub(start);
    let mapping = Mapping { virt: DIRECT + start, phys: start, length, rights };
    table().set(tables, mapping).map_err(|_| Fatal::OutOfMemory)?;
    Ok(())
}

/// Maps a page of a device at its place in the direct map; the address of `phys` there. Only while
/// the machine starts.
pub fn map_device(phys: u64) -> Option<u64> {
    let page = phys & !(PAGE - 1);
    let rights = Rights { uncached: true, ..Rights::READ_WRITE };
    let mapping = Mapping { virt: DIRECT + page, phys: page, length: PAGE, rights };
    table().set(&mut Tables::default(), mapping).ok()?;
    Some(DIRECT + phys)
}

/// Takes a page away, so that it guards what lies above it. Only while the machine starts, before
/// any other processor may have it in its TLB.
pub fn unmap(virt: u64) -> Result<(), Fatal> {
    let mapping = Mapping { virt, phys: 0, length: PAGE, rights: Rights::NONE };
    table().set(&mut Tables::default(), mapping).map_err(|_| Fatal::OutOfMemory)?;
    use_it();
    Ok(())
}
