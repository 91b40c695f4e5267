//! The system: the tasks that the system table names.

use crate::arch::descriptors::Descriptors;
use crate::arch::processor::PerProcessor;
use crate::arch::{cpuid, vcpu};
use crate::chain::Processor;
use crate::fatal::Fatal;
use crate::memory::direct::Pages;
use crate::memory::{guest_ram, whole_pages};
use crate::task::{Surroundings, Task};
use alloc::vec::Vec;
use heapless::String;
use lucos_abi::boot::{BootRecord, RECORD_MAX, SystemInfo};
use lucos_abi::manifest::{SystemTable, TaskEntry};
use lucos_abi::message;
use lucos_capability::{CapabilityTable, check_system};
use spin::Once;

static TASKS: Once<Vec<Task>> = Once::new();

/// Loads everything that the system table names.
///
/// # Errors
/// A part is missing or not allowed, or the region is full.
pub fn start(record: &BootRecord, info: &SystemInfo) -> Result<(), Fatal> {
    let (pages, length) = module(record, "system").ok_or(Fatal::MissingModule("system"))?;
    let bytes = pages.bytes().get(..length).unwrap_or(&[]);
    let table: SystemTable = message::decode(bytes).map_err(|_| Fatal::BadSystemTable)?;
    check_system(&table).map_err(|why| {
        log::error!("system table: {why:?}");
        Fatal::SystemTableRefused
    })?;
    let surroundings = Surroundings { system_info: write_info(info)?, memory: &info.memory };
    let mut tasks = Vec::new();
    for entry in &table.tasks {
        tasks.push(load(record, entry, &surroundings)?);
    }
    TASKS.call_once(|| tasks);
    Ok(())
}

/// The processor with its threads and its vCPU.
///
/// # Errors
/// The region is full, or the processor lacks what a vCPU needs.
pub fn processor(
    shared: &'static PerProcessor,
    descriptors: &'static mut Descriptors,
) -> Result<Processor, Fatal> {
    Processor::new(shared, descriptors, TASKS.get().ok_or(Fatal::BadSystemTable)?)
}

fn load(
    record: &BootRecord,
    entry: &TaskEntry,
    surroundings: &Surroundings<'_>,
) -> Result<Task, Fatal> {
    let mut name: String<32> = String::new();
    let fits = name.push_str("tasks/").and(name.push_str(&entry.name));
    let found = fits.ok().and_then(|()| module(record, &name));
    let (image, _) = found.ok_or_else(|| {
        log::error!("the bundle has no {name}");
        Fatal::MissingModule("tasks/...")
    })?;
    let capabilities = CapabilityTable::new(entry).map_err(|why| {
        log::error!("task {}: {why:?}", entry.name);
        Fatal::SystemTableRefused
    })?;
    Task::new(entry, capabilities, image, surroundings)
}

/// A copy of a part of the bundle, in LUCOS's own memory: what is checked there stays as it is.
fn module(record: &BootRecord, name: &str) -> Option<(Pages, usize)> {
    let module = record.modules.iter().find(|module| module.name == name)?;
    let length = usize::try_from(module.length).ok()?;
    let mut pages = Pages::allocate(whole_pages(module.length))?;
    guest_ram::read(module.start, pages.bytes_mut().get_mut(..length)?)?;
    Some((pages, length))
}

/// What the tasks are told.
///
/// # Errors
/// The boot record holds too much.
pub fn describe(record: &BootRecord) -> Result<SystemInfo, Fatal> {
    let extension = vcpu::extension()?;
    let mut info = SystemInfo {
        memory: record.memory.clone(),
        region: record.region,
        nvs: record.nvs,
        rsdp: record.rsdp,
        modules: heapless::Vec::new(),
        apic_ids: record.apic_ids.clone(),
        physical_bits: cpuid::physical_bits(),
        extension: extension.told,
        efer_bits: cpuid::efer_bits(),
        contains_init: extension.contains_init,
        framebuffer: record.framebuffer,
        efi: record.efi,
    };
    for module in &record.modules {
        if module.name.starts_with("guest/") {
            info.modules.push(module.clone()).map_err(|_| Fatal::BadBootRecord)?;
        }
    }
    Ok(info)
}

/// Puts the information on a page of its own and returns that page's physical address.
fn write_info(info: &SystemInfo) -> Result<u64, Fatal> {
    let mut page = Pages::allocate(1).ok_or(Fatal::OutOfMemory)?;
    let (head, rest) = page.bytes_mut().split_at_mut(4);
    debug_assert!(rest.len() + 4 == RECORD_MAX);
    let length = message::encode(info, rest).map_err(|_| Fatal::BadBootRecord)?;
    head.copy_from_slice(&(length as u32).to_le_bytes());
    Ok(page.phys())
}
