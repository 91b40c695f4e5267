//! LUCOS's region, while the stub fills it.
//!
//! | from the start | rights in the kernel's page table |
//! |---|---|
//! | kernel image | those of its segments |
//! | the page with the system information, task images | read |
//! | page tables, free memory, boot record | read and write |
//! | one page | none: the guard of the stack |
//! | stack on which the kernel starts | read and write |

use heapless::Vec;
use lucos_abi::boot::{LoadedTask, Span};
use lucos_abi::layout::{DIRECT, PAGE};
use lucos_abi::manifest::{MAX_TASKS, SystemTable};
use lucos_abi::message;
use lucos_paging::{Format, Mapping, PageSize, PageTable, Rights, TableMemory};
use lucos_system_check::check_system;

use crate::bundle::Bundle;
use crate::error::BootError;

/// Bytes for the boot record, behind the free memory.
pub const RECORD_AREA: u64 = 2 * PAGE;
/// Bytes for the stack on which the kernel starts.
pub const STACK: u64 = 64 * 1024;

/// The part of the region between the kernel image and the boot record.
#[derive(Debug)]
pub struct Region<'m> {
    memory: &'m mut [u8],
    /// Physical address of the memory.
    start: u64,
    /// Physical address of the first page that was not taken.
    next: u64,
}

impl<'m> Region<'m> {
    /// The memory, zeroed whole pages, at physical address `start`.
    pub fn new(memory: &'m mut [u8], start: u64) -> Self {
        Self { memory, start, next: start }
    }

    /// What is not used now, with the area of the record that follows.
    pub fn unused(&self) -> Span {
        Span { start: self.next, end: self.end() + RECORD_AREA }
    }

    fn end(&self) -> u64 {
        self.start + self.memory.len() as u64
    }

    /// Copies bytes to whole pages of their own; the physical address.
    ///
    /// # Errors
    /// [`BootError::RegionFull`]
    pub fn put(&mut self, bytes: &[u8]) -> Result<u64, BootError> {
        let at = self.next;
        let place = (at - self.start) as usize;
        let place = self.memory.get_mut(place..).and_then(|rest| rest.get_mut(..bytes.len()));
        place.ok_or(BootError::RegionFull)?.copy_from_slice(bytes);
        self.next = at + (bytes.len() as u64).next_multiple_of(PAGE);
        Ok(at)
    }

    /// Checks the bundle's system table, and puts the images of its tasks here.
    ///
    /// # Errors
    /// What is wrong with the table or an image, or [`BootError::RegionFull`].
    pub fn put_tasks(
        &mut self,
        bundle: &Bundle<'_>,
    ) -> Result<Vec<LoadedTask, MAX_TASKS>, BootError> {
        let table = bundle.member("system").and_then(|bytes| message::decode(bytes).ok());
        let table: SystemTable = table.ok_or(BootError::NoSystemTable)?;
        check_system(&table).map_err(BootError::SystemTable)?;
        let mut tasks = Vec::new();
        for entry in table.tasks {
            let [start, .., end] = entry.image.borders();
            let image = bundle.task(&entry.name).filter(|image| image.len() as u64 == end - start);
            let image = image.ok_or_else(|| BootError::TaskImage(entry.name.clone()))?;
            let image = self.put(image)?;
            tasks.push(LoadedTask { entry, image }).map_err(|_| BootError::NoSystemTable)?;
        }
        Ok(tasks)
    }

    /// Builds the kernel's page table; the physical address of its root.
    ///
    /// # Errors
    /// [`BootError::RegionFull`]
    pub fn build_tables(&mut self, segments: &[Mapping]) -> Result<u64, BootError> {
        let unused = self.unused();
        let direct = |start, end, rights| Mapping {
            virt: DIRECT + start,
            phys: start,
            length: end - start,
            rights,
        };
        let stack = unused.end + PAGE;
        let behind_image = [
            direct(self.start, unused.start, Rights::READ),
            direct(unused.start, unused.end, Rights::READ_WRITE),
            direct(stack, stack + STACK, Rights::READ_WRITE),
        ];
        let root = self.allocate().ok_or(BootError::RegionFull)?;
        let table = PageTable { format: Format::LongMode, root, largest: PageSize::Large };
        for mapping in segments.iter().chain(&behind_image) {
            table.set(self, *mapping).map_err(|_| BootError::RegionFull)?;
        }
        Ok(root)
    }

    /// Where an entry of a table lies in the memory.
    fn place(&self, table: u64, index: usize) -> usize {
        (table - self.start) as usize + 8 * index
    }
}

impl TableMemory for Region<'_> {
    fn read(&self, table: u64, index: usize) -> u64 {
        let entry = self.memory.get(self.place(table, index)..).and_then(<[u8]>::first_chunk);
        entry.copied().map_or(0, u64::from_le_bytes)
    }

    fn write(&mut self, table: u64, index: usize, entry: u64) {
        let place = self.place(table, index);
        let place = self.memory.get_mut(place..).and_then(<[u8]>::first_chunk_mut);
        if let Some(place) = place {
            *place = entry.to_le_bytes();
        }
    }

    fn available(&self) -> u64 {
        (self.end() - self.next) / PAGE
    }

    fn allocate(&mut self) -> Option<u64> {
        self.put(&[0; PAGE as usize]).ok()
    }

    /// Tables that are built once lose none.
    fn free(&mut self, _: u64) {}
}

#[cfg(test)]
mod tests {
    use lucos_abi::boot::Span;
    use lucos_abi::layout::{DIRECT, IMAGE, PAGE};
    use lucos_abi::manifest::{SystemTable, TaskEntry, TaskImage};
    use lucos_abi::message;
    use lucos_paging::{Mapping, Rights};

    use super::{RECORD_AREA, Region, STACK, TableMemory};
    use crate::bundle::{self, tests::archive};
    use crate::error::BootError;

    const START: u64 = 0x700_3000;
    const PAGES: usize = 64;

    fn task(name: &str, pages: u16) -> TaskEntry {
        TaskEntry {
            name: name.try_into().unwrap(),
            stack_pages: 1,
            heap_pages: 0,
            journal_pages: 0,
            image: TaskImage { constants: 0, code: pages, data: 0, entry: IMAGE },
            capabilities: heapless::Vec::new(),
        }
    }

    /// The bytes of a bundle with this table and these images.
    fn bundle(table: &[u8], images: &[(&str, usize)]) -> Vec<u8> {
        let images: Vec<_> =
            images.iter().map(|(name, length)| (*name, vec![name.len() as u8; *length])).collect();
        let images = images.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        archive(
            &[("kernel", &b"k"[..]), ("system", table)]
                .into_iter()
                .chain(images)
                .collect::<Vec<_>>(),
        )
    }

    fn encoded(tasks: &[TaskEntry]) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let table = SystemTable { tasks: tasks.iter().cloned().collect() };
        let length = message::encode(&table, &mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn tasks_lie_one_behind_the_other_in_whole_pages() {
        let mut memory = vec![0; PAGES * PAGE as usize];
        let mut region = Region::new(&mut memory, START);
        assert_eq!(region.put(&[7; 5]), Ok(START));
        let table = encoded(&[task("vmx", 2), task("b", 1)]);
        let bytes = bundle(&table, &[("tasks/b", 4096), ("tasks/vmx", 8192)]);
        let tasks = region.put_tasks(&bundle::open(&bytes, 0x1000).unwrap()).unwrap();
        let found: Vec<_> =
            tasks.iter().map(|task| (task.entry.name.as_str(), task.image)).collect();
        assert_eq!(found, [("vmx", START + 0x1000), ("b", START + 0x3000)]);
        assert_eq!(memory[0x1000..0x3000], [9; 8192]);
        assert_eq!(memory[0x3000..0x4000], [7; 4096]);
    }

    #[test]
    fn a_system_that_is_not_sound_is_named() {
        let put = |table: &[u8], images: &[(&str, usize)]| {
            let mut memory = vec![0; 4 * PAGE as usize];
            let bytes = bundle(table, images);
            let bundle = bundle::open(&bytes, 0x1000).unwrap();
            Region::new(&mut memory, START).put_tasks(&bundle).unwrap_err()
        };
        let one = encoded(&[task("vmx", 2)]);
        assert_eq!(put(b"\xff", &[]), BootError::NoSystemTable);
        assert_eq!(put(&[&one[..], b"\0"].concat(), &[]), BootError::NoSystemTable);
        let text = put(&encoded(&[task("vmx", 2), task("vmx", 2)]), &[]).to_string();
        assert_eq!(text, "the system table is not allowed: NameTaken in its task 1");
        let image = BootError::TaskImage("vmx".try_into().unwrap());
        for images in [&[][..], &[("tasks/vmx", 8191)], &[("tasks/vmx", 8193)], &[("vmx", 8192)]] {
            assert_eq!(put(&one, images), image, "{images:?}");
        }
        assert_eq!(
            put(&encoded(&[task("vmx", 5)]), &[("tasks/vmx", 5 * 4096)]),
            BootError::RegionFull
        );
    }

    /// Rights of a page in a tree of tables, and where it leads.
    fn walk(region: &Region<'_>, root: u64, virt: u64) -> Option<(u64, bool, bool)> {
        let (mut table, mut writes, mut executes) = (root, true, true);
        for level in (1..=4).rev() {
            let shift = 3 + 9 * level;
            let entry = region.read(table, (virt >> shift) as usize % 512);
            if entry & 1 == 0 {
                return None;
            }
            writes &= entry & 2 != 0;
            executes &= entry >> 63 == 0;
            table = entry & 0xf_ffff_ffff_f000;
            if level == 1 || entry & 0x80 != 0 {
                let inside = virt & ((1 << shift) - 1);
                return Some((table + (inside & !0xfff), writes, executes));
            }
        }
        None
    }

    #[test]
    fn the_kernel_sees_its_parts_with_their_rights_and_nothing_else() {
        let mut memory = vec![0; PAGES * PAGE as usize];
        let mut region = Region::new(&mut memory, START);
        let image = region.put(&[1; 0x1800]).unwrap();
        let segment = |phys, rights| Mapping { virt: DIRECT + phys, phys, length: PAGE, rights };
        let code = segment(START - 0x2000, Rights::READ_EXECUTE);
        let data = segment(START - 0x1000, Rights::READ_WRITE);
        let unused = region.unused();
        assert_eq!(unused, Span { start: image + 0x2000, end: START + 64 * PAGE + RECORD_AREA });
        let root = region.build_tables(&[code, data]).unwrap();
        let guard = unused.end;
        let end = guard + PAGE + STACK;
        for phys in (START - 0x4000..end + 0x4000).step_by(PAGE as usize) {
            let expected = match phys {
                _ if phys == code.phys => Some((false, true)),
                _ if phys == data.phys => Some((true, false)),
                _ if phys < START || phys >= end || phys == guard => None,
                _ => Some((phys >= unused.start, false)),
            };
            let expected = expected.map(|(writes, executes)| (phys, writes, executes));
            assert_eq!(walk(&region, root, DIRECT + phys), expected, "{phys:#x}");
            assert_eq!(walk(&region, root, phys), None);
        }
        assert!((unused.start..region.unused().start).contains(&root));
        let mut small = vec![0; 3 * PAGE as usize];
        let full = Region::new(&mut small, START).build_tables(&[code, data]);
        assert_eq!(full, Err(BootError::RegionFull));
    }
}
