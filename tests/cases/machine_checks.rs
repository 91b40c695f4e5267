//! Machine checks that come while a processor is in LUCOS: Intel's processors tell all of them when
//! one has an error.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Monitor, watched_fault, watched_self_test};

const SYSTEM: &str = "tests/on-target/system.toml";
const CPUS: u32 = 2;
const LIMIT: Duration = Duration::from_secs(240);
/// Long enough for a processor to be done with one on a busy host.
const PAUSE: Duration = Duration::from_millis(100);

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let test = || watched_self_test(SYSTEM, CPUS, LIMIT, watch);
    let fault = || watched_fault(SYSTEM, CPUS, LIMIT, all_end);
    vec![
        Trial::test("machine_checks::lucos_goes_on", test),
        Trial::test("machine_checks::lucos_ends_on_all_processors", fault),
    ]
}

/// The kernel and its tasks run all their tests while all processors are checked, again and again.
fn watch(monitor: &mut Monitor, log: &Path) -> Result<(), Failed> {
    until_it_runs(monitor, log)?;
    check_all(monitor)?;
    loop {
        thread::sleep(PAUSE);
        match check_all(monitor) {
            Ok(()) => {}
            // The system has ended.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Checks all processors at one moment, however little of the tests is left.
fn check_all(monitor: &mut Monitor) -> io::Result<()> {
    monitor.pause()?;
    for cpu in 0..CPUS {
        monitor.machine_check(cpu, true)?;
    }
    monitor.resume()
}

/// A processor cannot go on: LUCOS ends, and no other processor runs its tasks or the guest any more.
fn all_end(monitor: &mut Monitor, log: &Path) -> Result<(), Failed> {
    until_it_runs(monitor, log)?;
    monitor.machine_check(0, false)?;
    // An error when the machine has ended before.
    loop {
        let mut halted = 0;
        for cpu in 0..CPUS {
            halted += u32::from(monitor.processor(cpu)?.is_halted);
        }
        if halted == CPUS && fs::read_to_string(log)?.contains("LUCOS FAULT: ") {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the first test is done.
fn until_it_runs(monitor: &mut Monitor, log: &Path) -> Result<(), Failed> {
    while !fs::read_to_string(log).is_ok_and(|log| log.contains("@@ test ")) {
        thread::sleep(Duration::from_millis(1));
        // An error when the machine has ended without a test.
        monitor.processor(0)?;
    }
    Ok(())
}
