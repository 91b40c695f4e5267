//! From the boot stub's record to running processors.

use crate::arch::descriptors::Descriptors;
use crate::arch::processor::{self, PerProcessor};
use crate::arch::{self, apic, control, cpuid, extension, processors};
use crate::chain::Processor;
use crate::end::die;
use crate::fatal::Fatal;
use crate::memory::{PAGE, frames, guest_ram, heap, kernel_space, nested};
use crate::object;
use crate::task;
use lucos_abi::boot::{BOOT_RECORD_VERSION, BootRecord};
use lucos_abi::message;

/// The kernel's main function. The record begins with its length.
pub fn start(record: &[u8]) -> ! {
    run(prepare(record))
}

fn run(processor: Result<Processor, Fatal>) -> ! {
    match processor {
        Ok(processor) => processor.run(),
        Err(why) => die(why),
    }
}

fn prepare(record: &[u8]) -> Result<Processor, Fatal> {
    let record = decode(record).ok_or(Fatal::BadBootRecord)?;
    object::log::start(record.options);
    log::info!("LUCOS {} starts", env!("CARGO_PKG_VERSION"));
    control::enable_protections()?;
    frames::start(record.free);
    kernel_space::start(record.root);
    heap::start(record.apic_ids.len())?;
    apic::start()?;
    processor::create(&record.apic_ids);
    let first = processor::get(0).ok_or(Fatal::BadBootRecord)?;
    // From here on a register that is missing is an answer.
    let descriptors = Descriptors::new(first)?.load();
    extension::probe(record.hypervisor_below)?;
    nested::start(record.region, extension::extension()?, &record.readable)?;
    guest_ram::start(record.region, record.physical_bits)?;
    task::start(&record)?;
    let processor = Processor::new(first, descriptors)?;
    processors::let_in(record.gate, arrive)?;
    let all = (record.region.end - record.region.start) / PAGE;
    let (count, used) = (record.apic_ids.len(), all - frames::available());
    log::info!("{count} processors, {used} of {all} pages of LUCOS's region used");
    object::log::release_serial();
    Ok(processor)
}

/// The first function of every other processor, still on the stub's tables.
extern "C" fn arrive(number: u32) -> ! {
    match processor::get(number) {
        Some(shared) => run(prepare_other(shared)),
        None => arch::end_machine(None, 0),
    }
}

fn prepare_other(shared: &'static PerProcessor) -> Result<Processor, Fatal> {
    control::enable_protections()?;
    kernel_space::use_it();
    if cpuid::apic_id() != shared.apic_id {
        return Err(Fatal::ProcessorDead(shared.apic_id));
    }
    Processor::new(shared, Descriptors::new(shared)?.load())
}

fn decode(record: &[u8]) -> Option<BootRecord> {
    let (length, rest) = record.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let record: BootRecord = message::decode(rest.get(..length)?).ok()?;
    (record.version == BOOT_RECORD_VERSION).then_some(record)
}
