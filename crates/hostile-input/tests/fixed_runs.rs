//! Every target with inputs of a fixed sequence.

use std::panic::catch_unwind;

use lucos_hostile_input::mutation::Mutator;
use lucos_hostile_input::{TARGETS, Target};

/// Inputs for each target.
const RUNS: usize = 20_000;

const SEED: u64 = 20_260_101;

/// `refused_seeds` are the seeds that only begin well.
fn run(name: &str, refused_seeds: &[usize]) {
    let target: &Target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = (target.seeds)();
    let refused: Vec<usize> =
        (0..seeds.len()).filter(|&index| !(target.check)(&seeds[index])).collect();
    assert_eq!(refused, *refused_seeds, "seeds of {name} that are refused");
    let mut mutator = Mutator::new(SEED, seeds);
    let mut accepted = 0;
    for count in 0..RUNS {
        let input = mutator.input();
        match catch_unwind(|| (target.check)(&input)) {
            Ok(is_accepted) => accepted += usize::from(is_accepted),
            Err(_) => panic!("input {count} of {name}: {input:02x?}"),
        }
    }
    // Both sides of the decoder are seen.
    let good = (RUNS / 100..RUNS - RUNS / 100).contains(&accepted);
    assert!(good, "{accepted} inputs of {RUNS} are accepted");
}

#[test]
fn messages() {
    run("messages", &[]);
}

#[test]
fn descriptor() {
    run("descriptor", &[5, 7]);
}

#[test]
fn transaction() {
    run("transaction", &[]);
}

#[test]
fn code() {
    run("code", &[]);
}

#[test]
fn linux_boot() {
    run("linux_boot", &[]);
}

#[test]
fn patch_file() {
    run("patch_file", &[2]);
}

/// Seeds that are refused at once would test nothing.
#[test]
fn the_sequence_is_fixed_and_varied() {
    let inputs = |seed| {
        let mut mutator = Mutator::new(seed, vec![vec![1; 100]]);
        (0..1000).map(|_| mutator.input()).collect::<Vec<_>>()
    };
    assert_eq!(inputs(SEED), inputs(SEED));
    assert_ne!(inputs(SEED), inputs(SEED + 2));
    let mut different = inputs(SEED);
    different.sort();
    different.dedup();
    assert!(different.len() > 700, "{}", different.len());
}
