//! From the boot stub's record to running processors.

use crate::arch::descriptors::Descriptors;
use crate::arch::processor::{self, PerProcessor};
use crate::arch::{apic, control, cpuid, processors, vcpu};
use crate::chain::Processor;
use crate::fatal::{Fatal, die};
use crate::memory::{PAGE, frames, guest_ram, heap, kernel_space};
use crate::object::guest_space;
use crate::{object, system};
use alloc::boxed::Box;
use lucos_abi::boot::{BOOT_RECORD_VERSION, BootRecord, RECORD_MAX};
use lucos_abi::message;

/// The kernel's main function; `record` is the physical address of the boot record.
pub fn start(record: u64) -> ! {
    match prepare(record) {
        Ok(processor) => processor.run(),
        Err(why) => die(why),
    }
}

fn prepare(record: u64) -> Result<Processor, Fatal> {
    let record = read_record(record).ok_or(Fatal::BadBootRecord)?;
    object::log::start(record.options);
    log::info!("LUCOS {} starts", env!("CARGO_PKG_VERSION"));
    control::enable_protections()?;
    frames::start(record.region, record.kernel.end().next_multiple_of(PAGE));
    heap::start(record.apic_ids.len())?;
    kernel_space::start(&record)?;
    vcpu::probe()?;
    apic::start().ok_or(Fatal::OutOfMemory)?;
    processor::create(&record.apic_ids);
    guest_space::start(record.region)?;
    let info = system::describe(&record)?;
    guest_ram::start(&info.memory, record.region);
    system::start(&record, &info)?;
    let first = processor::get(0).ok_or(Fatal::BadBootRecord)?;
    let descriptors = Box::leak(Descriptors::new(first)).load();
    if !control::protections_hold() {
        return Err(Fatal::MissingFeature("SMEP and SMAP"));
    }
    processors::let_in(record.gate, other)?;
    let (count, (free, all)) = (record.apic_ids.len(), frames::available());
    log::info!("{count} processors, {} of {all} pages of LUCOS's region used", all - free);
    object::log::release_serial();
    system::processor(first, descriptors)
}

/// The main function of every other processor.
fn other(shared: &'static PerProcessor) -> ! {
    match prepare_other(shared) {
        Ok(processor) => processor.run(),
        Err(why) => die(why),
    }
}

fn prepare_other(shared: &'static PerProcessor) -> Result<Processor, Fatal> {
    control::enable_protections()?;
    kernel_space::use_it();
    let descriptors = Box::leak(Descriptors::new(shared)).load();
    if cpuid::apic_id() != shared.apic_id || !control::protections_hold() {
        return Err(Fatal::ProcessorDead(shared.apic_id));
    }
    system::processor(shared, descriptors)
}

fn read_record(address: u64) -> Option<BootRecord> {
    let mut length = [0; 4];
    kernel_space::read_early(address, &mut length)?;
    let mut bytes = [0; RECORD_MAX];
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    let bytes = bytes.get_mut(..length)?;
    kernel_space::read_early(address + 4, bytes)?;
    let record: BootRecord = message::decode(bytes).ok()?;
    (record.version == BOOT_RECORD_VERSION).then_some(record)
}
