//! The address spaces of kernel and tasks, seen from outside while they run.
//!
//! It is QEMU that walks the tables, at many moments of a run in which tasks call each other, fault
//! and start again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Mapping, Monitor, Processor, equal, watched_self_test};

const SYSTEM: &str = "tests/on-target/system.toml";
const CPUS: u32 = 2;
const LIMIT: Duration = Duration::from_secs(240);
/// The machine runs this long between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// The kernel's half of every address space. LUCOS's region is there at its physical address.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;
/// The local APIC lies there too.
const APIC: u64 = KERNEL_HALF + 0xfee0_0000;
/// The place for one page of the guest's.
const SLOT: u64 = 0xffff_f000_0000_0000;
/// Bytes of the region.
const REGION: u64 = 8 << 20;

const PAGE: u64 = 4 << 10;
const LARGE_PAGE: u64 = 2 << 20;

const CR0_WRITE_PROTECT: u64 = 1 << 16;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
const EFER_NO_EXECUTE: u64 = 1 << 11;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let test = || watched_self_test(SYSTEM, CPUS, LIMIT, watch);
    vec![Trial::test("mappings::written_or_executed", test)]
}

/// What has been looked at.
#[derive(Default)]
struct Seen {
    looks: u32,
    /// Page-table roots: each task has one, and so has the kernel.
    roots: BTreeSet<u64>,
    kernel_code: u32,
    kernel_data: u32,
    task_code: u32,
    task_data: u32,
    /// Looks in which the next instruction cannot be fetched.
    fault_ahead: u32,
}

fn watch(monitor: &mut Monitor, log: &Path) -> Result<(), Failed> {
    while !fs::read_to_string(log).is_ok_and(|log| log.contains("@@ test ")) {
        thread::sleep(PAUSE);
        // An error when the machine has ended without a test.
        monitor.processor(0)?;
    }
    let mut seen = Seen::default();
    let mut wrong = Ok(());
    while wrong.is_ok() {
        match look(monitor) {
            Ok(states) => {
                wrong = states.iter().try_for_each(|state| judge(&mut seen, state));
            }
            // The system has ended.
            Err(error) if is_end(&error) => break,
            Err(error) => return Err(error.into()),
        }
        thread::sleep(PAUSE);
    }
    wrong?;
    // A task that calls and one that is called at the least.
    equal("enough looks", seen.looks >= 10 && seen.roots.len() >= 2, true)?;
    let rare = seen.fault_ahead * 4 <= seen.looks;
    equal("the tables that were looked at are those in use", rare, true)?;
    for (what, count) in [
        ("code of the kernel", seen.kernel_code),
        ("data of the kernel", seen.kernel_data),
        ("code of tasks", seen.task_code),
        ("data of tasks", seen.task_data),
    ] {
        equal(&format!("{what} was seen"), count > 0, true)?;
    }
    Ok(())
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

type State = (Processor, Vec<Mapping>);

/// All processors at one moment.
fn look(monitor: &mut Monitor) -> io::Result<Vec<State>> {
    monitor.pause()?;
    let states = (0..CPUS)
        .map(|cpu| Ok((monitor.processor(cpu)?, monitor.mappings(cpu)?)))
        .collect::<io::Result<_>>()?;
    monitor.resume()?;
    Ok(states)
}

/// What the kernel sees: LUCOS's region but for the guard pages of stacks, and no memory of the
/// guest's.
fn judge_region(mappings: &[Mapping]) -> Result<(), Failed> {
    let own = |mapping: &&Mapping| mapping.virt >= KERNEL_HALF && mapping.virt != APIC;
    let (mut start, mut next, mut guards) = (None, 0, 0);
    for mapping in mappings.iter().filter(own).filter(|mapping| mapping.virt != SLOT) {
        equal("an address in the direct map", mapping.virt - mapping.phys, KERNEL_HALF)?;
        if start.is_some() && mapping.virt != next {
            equal(&format!("bytes of the hole at {next:#x}"), mapping.virt - next, PAGE)?;
            guards += 1;
        }
        start = start.or(Some(mapping.virt));
        next = mapping.virt + if mapping.large { LARGE_PAGE } else { PAGE };
    }
    let start = start.ok_or("the kernel is not mapped")?;
    equal("the region", (start % LARGE_PAGE, next - start), (0, REGION))?;
    // Each processor has a stack, and one more for faults.
    equal("guard pages", guards, 2 * CPUS)
}

fn judge(seen: &mut Seen, (processor, mappings): &State) -> Result<(), Failed> {
    let Processor { rip, cr0, cr3, cr4, efer, .. } = *processor;
    equal("CR0.WP", cr0 & CR0_WRITE_PROTECT, CR0_WRITE_PROTECT)?;
    equal("CR4.SMEP, CR4.SMAP", cr4 & (CR4_SMEP | CR4_SMAP), CR4_SMEP | CR4_SMAP)?;
    equal("EFER.NXE", efer & EFER_NO_EXECUTE, EFER_NO_EXECUTE)?;
    seen.looks += 1;
    seen.roots.insert(cr3);
    judge_region(mappings)?;
    let mut current = None;
    for mapping in mappings {
        let kernel = mapping.virt >= KERNEL_HALF;
        if mapping.write && mapping.execute {
            return Err(format!("written and executed: {mapping:x?} under CR3 {cr3:#x}").into());
        }
        if mapping.user == kernel {
            return Err(format!("wrong half for its ring: {mapping:x?} under CR3 {cr3:#x}").into());
        }
        if mapping.virt <= rip {
            current = Some(mapping);
        }
        *match (kernel, mapping.execute) {
            (true, true) => &mut seen.kernel_code,
            (true, false) => &mut seen.kernel_data,
            (false, true) => &mut seen.task_code,
            (false, false) => &mut seen.task_data,
        } += 1;
    }
    if current.is_some_and(|mapping| mapping.execute) {
        return Ok(());
    }
    // A task that the kernel takes out goes on at 0, and some tests execute data: such a task can be
    // met just before its fault. The kernel itself never goes where nothing can be executed.
    seen.fault_ahead += 1;
    equal(&format!("RIP {rip:#x} is in a task"), rip < KERNEL_HALF, true)
}
