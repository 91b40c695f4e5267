//! Tests that start machines, listed and filtered like all others. A test whose name begins with
//! a series runs with that guest.

#![forbid(unsafe_code)]

mod added;
mod attacks;
mod bad_input;
mod boot;
mod builder;
mod company;
mod confinement;
mod data;
mod devices;
mod enabled;
mod every_function;
mod figures;
mod fixes;
mod groups;
mod hostile;
mod inside;
mod irqstat;
mod kept;
mod kexec;
mod leaving;
mod limits;
mod load;
mod machine_checks;
mod mappings;
mod memory_maps;
mod newest;
mod nmi;
mod nmi_entry;
mod on_target;
mod probation;
mod processors;
mod registration;
mod runner;
mod selftests;
mod steady;
mod tail_calls;
mod twins;
mod update;
mod update_faults;
mod values;
mod variables;
mod window;

use std::collections::HashSet;
use std::num::NonZero;
use std::thread;

use libtest_mimic::{Arguments, Trial};
use lucos_tests::restarts;

fn main() {
    // The library takes one filter, ordinary tests and `cargo xtask test` take several. So the
    // value of an option must be joined to it: `--skip=name`.
    let (options, filters): (Vec<_>, Vec<_>) = std::env::args()
        .enumerate()
        .partition(|(index, word)| *index == 0 || word.starts_with('-'));
    let mut arguments = Arguments::from_iter(options.into_iter().map(|(_, word)| word));
    // A machine takes one of the host's processors, or none beside it (`Run::racing`).
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(processors.min(2));
    let is_wanted = |trial: &Trial| {
        let is_it = |filter: &str| match arguments.exact {
            true => trial.name() == filter,
            false => trial.name().contains(filter),
        };
        filters.is_empty() || filters.iter().any(|(_, filter)| is_it(filter))
    };
    let mut trials: Vec<Trial> = [
        added::trials(),
        attacks::trials(),
        on_target::trials(),
        mappings::trials(),
        machine_checks::trials(),
        nmi_entry::trials(),
        memory_maps::trials(),
        boot::trials(),
        nmi::trials(),
        runner::trials(),
        newest::trials(),
        update::trials(),
        update_faults::trials(),
        values::trials(),
        data::trials(),
        groups::trials(),
        registration::trials(),
        builder::trials(),
        fixes::trials(),
        variables::trials(),
        kept::trials(),
        kexec::trials(),
        enabled::trials(),
        every_function::trials(),
        bad_input::trials(),
        company::trials(),
        hostile::trials(),
        inside::trials(),
        irqstat::trials(),
        leaving::trials(),
        twins::trials(),
        probation::trials(),
        window::trials(),
        tail_calls::trials(),
        load::trials(),
        selftests::trials(),
        figures::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let names: Vec<String> = trials.iter().map(|trial| trial.name().to_owned()).collect();
    trials.extend(limits::trials(&names));
    trials.retain(is_wanted);
    put_boots_first(&mut trials);
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(summary) = restarts::summary() {
        eprintln!("{summary}");
    }
    if restarts::are_too_many() && !conclusion.has_failed() {
        eprintln!("error: too many machines were started again");
        std::process::exit(1);
    }
    conclusion.exit();
}

/// Puts the first test of each boot before those that only look at what it did: else these would keep
/// a thread waiting.
fn put_boots_first(trials: &mut [Trial]) {
    let mut known = HashSet::new();
    trials.sort_by_cached_key(|trial| {
        let boot = trial.name().rsplit_once("::").map_or("", |(boot, _)| boot);
        !known.insert(boot.to_owned())
    });
}
