//! Tests that start machines, listed and filtered like all others. A test whose name begins with
//! a series runs with that guest.

#![forbid(unsafe_code)]

mod boot;
mod on_target;
mod runner;
mod update;
mod update_faults;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let mut arguments = Arguments::from_args();
    // A machine with two processors keeps a small host busy.
    arguments.test_threads.get_or_insert(1);
    let trials: Vec<Trial> = [
        on_target::trials(),
        boot::trials(),
        runner::trials(),
        update::trials(),
        update_faults::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
