//! Searches through everything that can happen to a guest whose data changes with its code.

mod config;
mod fuse;
mod retained;
mod search;
mod state;
mod threads;
mod updates;
mod world;
mod writing;

use std::io::Write;

use stateright::{Checker, HasDiscoveries, Model};

use config::{Config, Seed};
use threads::Counting;

/// Says how large a search was, also of a test that passes.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "model: {line}");
}

/// Searches all states. Every promise holds in each, and what must be reached is reached.
fn holds(name: &str, config: Config) {
    let checker = config.checker().threads(2).spawn_bfs().join();
    say(format_args!(
        "{name}: {} states, {} of them different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    ));
    checker.assert_properties();
}

/// A search of a wrong machine finds a broken promise.
fn breaks(seed: Seed, config: Config) {
    let config = Config { seed: Some(seed), ..config };
    let checker = config.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let broken: Vec<_> = checker.discoveries().into_keys().collect();
    say(format_args!("{seed:?}: {} states until {broken:?}", checker.state_count()));
    assert!(!broken.is_empty(), "{seed:?} is not found");
}

const SMALL: Config = Config::SMALL;
/// Two threads, for searches in which more can go wrong.
const TWO: Config = Config { threads: 2, ..SMALL };

#[test]
fn updates_and_writes() {
    holds("atomic", Config { writes: 3, ..SMALL });
    holds("locked", Config { counting: Counting::Locked, ..SMALL });
    holds("one page", Config { one_page: true, ..SMALL });
}

#[test]
fn tasks_end() {
    holds("ends", Config { ends: 1, ..TWO });
}

#[test]
fn steps_fail() {
    holds("errors", Config { errors: 1, ..TWO });
    holds("failures", Config { failures: 1, ..TWO });
    holds("contained", Config { contained: 1, ..TWO });
}

#[test]
fn one_patch_on_the_data_of_another() {
    holds("two patches", Config { two_patches: true, updates: 4, ..TWO });
}

#[test]
fn who_is_inside() {
    holds("witness", Config { witness: true, ..TWO });
    holds("pointers", Config { pointers: true, ..SMALL });
    holds("frees", Config { frees: true, ..SMALL });
}

#[test]
fn every_seed_is_found() {
    breaks(Seed::NoLock, SMALL);
    breaks(Seed::LateGuards, SMALL);
    breaks(Seed::StopEnds, Config { ends: 1, ..TWO });
    breaks(Seed::NoProbe, Config { witness: true, ..TWO });
    breaks(Seed::DroppedPointer, Config { pointers: true, ..SMALL });
    breaks(Seed::NoReconcile, Config { frees: true, ..SMALL });
    breaks(Seed::EarlyClear, Config { ends: 1, ..TWO });
    breaks(Seed::NoWaiting, Config { ends: 1, ..TWO });
    breaks(Seed::OpenForAll, SMALL);
}

/// The same with raised bounds: minutes.
mod raised {
    use super::{Config, Counting, SMALL, TWO, holds};

    #[test]
    #[ignore = "minutes"]
    fn updates_and_writes() {
        holds("atomic, raised", Config { writes: 3, updates: 3, ..SMALL });
        let locked = Config { counting: Counting::Locked, ..SMALL };
        holds("locked, raised", Config { writes: 3, updates: 3, ..locked });
        holds("one page, raised", Config { one_page: true, writes: 3, ..SMALL });
    }

    #[test]
    #[ignore = "minutes"]
    fn tasks_end() {
        holds("ends twice", Config { ends: 2, ..TWO });
        holds("ends and one page", Config { ends: 1, one_page: true, ..TWO });
    }

    #[test]
    #[ignore = "minutes"]
    fn steps_fail() {
        holds("ends and errors", Config { ends: 1, errors: 1, writes: 1, ..TWO });
        holds("ends and failures", Config { ends: 1, failures: 1, ..TWO });
        holds("contained and ends", Config { contained: 1, ends: 1, ..TWO });
    }

    #[test]
    #[ignore = "minutes"]
    fn one_patch_on_the_data_of_another() {
        let both = Config { two_patches: true, updates: 4, ..TWO };
        holds("two patches, raised", Config { threads: 3, ..both });
        holds("two patches and ends", Config { ends: 1, writes: 1, ..both });
    }

    #[test]
    #[ignore = "minutes"]
    fn who_is_inside() {
        holds("witness, raised", Config { witness: true, ..SMALL });
        holds("pointers and frees", Config { pointers: true, frees: true, ..SMALL });
    }
}
