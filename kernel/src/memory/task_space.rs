//! The address space of a task.

use super::direct::{Pages, Tables};
use super::{PAGE, kernel_space};
use crate::fatal::Fatal;
use lucos_abi::layout::DIRECT;
use lucos_paging::{ENTRIES, Mapping, PageTable, Rights, TableMemory};

/// A task's page table. The upper half is the kernel's, shared.
#[derive(Clone, Copy, Debug)]
pub struct TaskSpace {
    table: PageTable,
}

impl TaskSpace {
    /// A space in which only the kernel is mapped.
    ///
    /// # Errors
    /// The region is full.
    pub fn new() -> Result<Self, Fatal> {
        let mut tables = Tables::default();
        let root = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?.phys();
        let kernel = kernel_space::table();
        for index in ENTRIES / 2..ENTRIES {
            let entry = tables.read(kernel.root, index);
            tables.write(root, index, entry);
        }
        Ok(Self { table: kernel_space::table_at(root) })
    }

    /// Physical address of the root table.
    pub fn root(&self) -> u64 {
        self.table.root
    }

    /// Maps physical pages for the task. Never writable and executable.
    ///
    /// # Errors
    /// The region is full.
    pub fn map(&self, virt: u64, phys: u64, length: u64, rights: Rights) -> Result<(), Fatal> {
        debug_assert!(!(rights.write && rights.execute) && virt + length <= DIRECT);
        let mapping =
            Mapping { virt, phys, length: length.next_multiple_of(PAGE), rights: rights.user() };
        self.table.set(&mut Tables::default(), mapping).map(|_| ()).map_err(|_| Fatal::OutOfMemory)
    }
}
