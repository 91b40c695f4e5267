//! The kernel's address space: the direct map with the kernel image in it, write or execute.

use super::direct::{DIRECT, Tables, read_mapped};
use super::{PAGE, whole_pages};
use crate::arch::{control, cpuid};
use crate::fatal::Fatal;
use alloc::vec::Vec;
use elf::abi::{EI_NIDENT, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::{FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use lucos_abi::boot::BootRecord;
use lucos_paging::{Format, Mapping, PageSize, PageTable, Rights};
use spin::Once;

static ROOT: Once<u64> = Once::new();

unsafe extern "C" {
    /// First byte of the loaded image: its ELF header. The linker defines it.
    static __ehdr_start: [u8; 4096];
}

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
/// The region is too small, or the image is not what the linker made.
pub fn start(record: &BootRecord) -> Result<(), Fatal> {
    let mut tables = Tables::default();
    let root = super::direct::Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
    ROOT.call_once(|| root);
    for range in record.memory.iter().filter(|range| range.kind.is_guest_ram()) {
        map_direct(&mut tables, range.start, range.end())?;
    }
    map_image(&mut tables, record)?;
    let behind_image = record.kernel.end().next_multiple_of(PAGE);
    map_direct(&mut tables, behind_image, record.region.end())?;
    use_it();
    super::slot::start()
}

/// Switches this processor to the kernel's address space.
pub fn use_it() {
    // SAFETY: the table maps the kernel at the address where it runs: `start` built it so.
    unsafe { control::set_root(table().root) };
}

/// Maps whole pages to read and write.
fn map_direct(tables: &mut Tables, start: u64, end: u64) -> Result<(), Fatal> {
    let (virt, rights) = (DIRECT + start, Rights::READ_WRITE);
    let mapping = Mapping { virt, phys: start, length: end - start, rights };
    table().set(tables, mapping).map_err(|_| Fatal::OutOfMemory)?;
    Ok(())
}

/// Maps the kernel image, each segment with its own rights.
fn map_image(tables: &mut Tables, record: &BootRecord) -> Result<(), Fatal> {
    for segment in segments()? {
        let virt = image_start() + (segment.p_vaddr & !(PAGE - 1));
        let end = segment.p_vaddr + segment.p_memsz;
        let rights = match (segment.p_flags & PF_X != 0, segment.p_flags & PF_W != 0) {
            (true, false) => Rights::READ_EXECUTE,
            (false, true) => Rights::READ_WRITE,
            (false, false) => Rights::READ,
            (true, true) => return Err(Fatal::BadBootRecord),
        };
        let mapping = Mapping {
            virt,
            phys: virt - DIRECT,
            length: whole_pages(end - (segment.p_vaddr & !(PAGE - 1))) * PAGE,
            rights,
        };
        let inside = mapping.phys >= record.kernel.start
            && mapping.phys + mapping.length <= record.kernel.end().next_multiple_of(PAGE);
        if !inside {
            return Err(Fatal::BadBootRecord);
        }
        table().set(tables, mapping).map_err(|_| Fatal::OutOfMemory)?;
    }
    Ok(())
}

fn image_start() -> u64 {
    &raw const __ehdr_start as u64
}

/// The loadable segments of the running image.
fn segments() -> Result<Vec<ProgramHeader>, Fatal> {
    // SAFETY: the header page is part of the image, read-only from the start, mapped by the stub.
    let header: &[u8] = unsafe { &__ehdr_start };
    // Only the headers are here, so the crate's whole-file parser would miss the sections.
    let (ident, rest) = header.split_at(EI_NIDENT);
    let ident = parse_ident::<LittleEndian>(ident).map_err(|_| Fatal::BadBootRecord)?;
    let file = FileHeader::parse_tail(ident, rest).map_err(|_| Fatal::BadBootRecord)?;
    let start = usize::try_from(file.e_phoff).map_err(|_| Fatal::BadBootRecord)?;
    let length = usize::from(file.e_phnum) * usize::from(file.e_phentsize);
    let table =
        header.get(start..).and_then(|rest| rest.get(..length)).ok_or(Fatal::BadBootRecord)?;
    Ok(SegmentTable::new(file.endianness, file.class, table)
        .iter()
        .filter(|header| header.p_type == PT_LOAD)
        .collect())
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
