//! Machine checks that come while a processor is in LUCOS: Intel's processors tell all of them when
//! one has an error.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Monitor, equal, watched_self_test};

const SYSTEM: &str = "tests/on-target/system.toml";
const CPUS: u32 = 2;
const LIMIT: Duration = Duration::from_secs(240);
/// Long enough for a processor to be done with one on a busy host.
const PAUSE: Duration = Duration::from_millis(100);

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let test = || watched_self_test(SYSTEM, CPUS, LIMIT, watch);
    vec![Trial::test("machine_checks::lucos_goes_on", test)]
}

/// The kernel and its tasks run all their tests while one processor after the other is checked.
fn watch(monitor: &mut Monitor, log: &Path) -> Result<(), Failed> {
    while !fs::read_to_string(log).is_ok_and(|log| log.contains("@@ test ")) {
        thread::sleep(Duration::from_millis(1));
        // An error when the machine has ended without a test.
        monitor.processor(0)?;
    }
    let mut checks = 0;
    for cpu in (0..CPUS).cycle() {
        match monitor.machine_check(cpu) {
            Ok(()) => checks += 1,
            // The system has ended.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                ) =>
            {
                break;
            }
            Err(error) => return Err(error.into()),
        }
        thread::sleep(PAUSE);
    }
    equal("each processor was checked", checks >= CPUS, true)
}
