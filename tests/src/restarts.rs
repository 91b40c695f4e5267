//! Faults of the emulator: which are believed, what it costs to believe one, and how many there
//! were (docs/decisions/0013-emulator-faults.md).
//!
//! A machine is started again only for what is listed here. Its logs go to a folder of cargo's
//! target folder, it is counted, and more than two of them fail the suite.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::run::Finished;

/// The exit status of a run whose guest panicked.
const PANIC: i32 = 121;
/// The exit status of a run whose time was over.
const TIMEOUT: i32 = 124;

/// How long the host must have run nothing, for a stall that the kernel sees to be the host's: about
/// half of what Linux's watchdogs wait.
const HOST_STOOD: Duration = Duration::from_secs(10);

/// What Linux says of a processor that does not get on.
const STALLS: [&str; 3] = ["detected stall", "detected expedited stall", "soft lockup"];

/// Most machines of a suite that may be started again.
const MOST: usize = 2;

/// What kind of machine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// LUCOS is not in it.
    pub bare: bool,
    /// The emulator has a thread for each processor.
    pub races: bool,
    /// The test wants the end of its time.
    pub wants_timeout: bool,
}

/// A fault that is the emulator's, or Linux's in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A machine without LUCOS hung.
    BareHung,
    /// A busy host kept back the ticks by which Linux checks its timer at boot.
    NoTicks,
    /// The host ran nothing for so long that Linux took it for a stall.
    HostStood,
    /// A processor ran an old translation of code that Linux has changed.
    OldTranslation,
    /// A guest ran with the host's registers.
    MixedUp,
}

impl Fault {
    /// The fault that a run shows, if it is one.
    pub fn of(kind: Kind, finished: &Finished) -> Option<Self> {
        let log = |text| finished.log.contains(text);
        match finished.status {
            // LUCOS writes no int3, and Linux has nothing in LUCOS's half of the address space.
            // With one thread the emulator has neither fault, so there both are ours.
            _ if kind.races && log(": no page tables: rip 0xffff80") => Some(Self::MixedUp),
            Some(PANIC) if kind.races && log("int3: 0000 [#") => Some(Self::OldTranslation),
            Some(PANIC) if log("IO-APIC + timer doesn't work") => Some(Self::NoTicks),
            _ if finished.pause >= HOST_STOOD && STALLS.into_iter().any(log) => {
                Some(Self::HostStood)
            }
            Some(TIMEOUT) if kind.bare && !kind.wants_timeout => Some(Self::BareHung),
            _ => None,
        }
    }

    /// How often the same run must end without a fault, so that this one is believed to be the
    /// emulator's. A race of LUCOS's own that changes text or switches worlds would look the same.
    pub const fn repetitions(self) -> usize {
        match self {
            Self::BareHung | Self::NoTicks | Self::HostStood => 1,
            Self::OldTranslation | Self::MixedUp => 10,
        }
    }

    /// What it is, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::BareHung => "a bare machine hung",
            Self::NoTicks => "the host kept the timer's ticks back",
            Self::HostStood => "the host ran nothing for a while",
            Self::OldTranslation => "QEMU has run an old translation",
            Self::MixedUp => "QEMU has mixed up two states",
        }
    }
}

/// Machines that ran, and those of them that were started again.
struct Count {
    machines: AtomicUsize,
    restarts: AtomicUsize,
}

impl Count {
    const fn new() -> Self {
        Self { machines: AtomicUsize::new(0), restarts: AtomicUsize::new(0) }
    }

    fn numbers(&self) -> [usize; 2] {
        [&self.restarts, &self.machines].map(|count| count.load(Ordering::Relaxed))
    }
}

static LUCOS: Count = Count::new();
static BARE: Count = Count::new();

const fn count(kind: Kind) -> &'static Count {
    if kind.bare { &BARE } else { &LUCOS }
}

/// A machine has run.
pub fn count_machine(kind: Kind) {
    count(kind).machines.fetch_add(1, Ordering::Relaxed);
}

/// A machine is started again for this fault. Keeps what it said, and returns where.
///
/// # Errors
/// When that cannot be written.
pub fn keep(kind: Kind, fault: Fault, finished: &Finished) -> io::Result<PathBuf> {
    count(kind).restarts.fetch_add(1, Ordering::Relaxed);
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::folder("../target"), PathBuf::from);
    let all = target.join("lucos/restarts");
    fs::create_dir_all(&all)?;
    let folder = tempfile::Builder::new().prefix("").tempdir_in(all)?.keep();
    fs::write(folder.join("fault"), format!("{}\n{kind:?}\n", fault.text()))?;
    fs::write(folder.join("log"), &finished.log)?;
    fs::write(folder.join("stdout"), &finished.stdout)?;
    fs::write(folder.join("stderr"), &finished.stderr)?;
    Ok(folder)
}

/// How many machines of how many were started again, when any was.
pub fn summary() -> Option<String> {
    let ([lucos, of_lucos], [bare, of_bare]) = (LUCOS.numbers(), BARE.numbers());
    (lucos + bare > 0).then(|| {
        format!(
            "machines started again after a fault of the emulator: {lucos} of {of_lucos} under \
             LUCOS, {bare} of {of_bare} bare (at most {MOST} in all)"
        )
    })
}

/// Whether there were too many of them.
pub fn are_too_many() -> bool {
    let ([lucos, _], [bare, _]) = (LUCOS.numbers(), BARE.numbers());
    lucos + bare > MOST
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, Kind, PANIC, TIMEOUT};
    use crate::run::Finished;

    const INT3: &str = "[  1.0] int3: 0000 [#1] SMP";
    const MIXED_UP: &str = "[vmx] triple fault: no page tables: rip 0xffff8000001234";

    fn fault(kind: Kind, status: i32, log: &str) -> Option<Fault> {
        paused(kind, status, log, Duration::from_millis(300))
    }

    fn paused(kind: Kind, status: i32, log: &str, pause: Duration) -> Option<Fault> {
        let (stdout, stderr, log) = (Vec::new(), Vec::new(), log.to_owned());
        Fault::of(kind, &Finished { status: Some(status), stdout, stderr, log, pause })
    }

    #[test]
    fn a_stall_is_the_hosts_only_when_the_host_stood() {
        let kind = Kind { bare: false, races: false, wants_timeout: false };
        let stall = "[   25.7] rcu: INFO: rcu_preempt self-detected stall on CPU";
        let lockup = "[   25.7] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [sh:1]";
        for log in [stall, lockup] {
            assert_eq!(paused(kind, 0, log, Duration::from_secs(9)), None);
            assert_eq!(paused(kind, 0, log, Duration::from_secs(20)), Some(Fault::HostStood));
        }
        assert_eq!(paused(kind, 0, "[   25.7] BUG: oops", Duration::from_secs(20)), None);
    }

    #[test]
    fn what_could_be_a_race_of_ours_is_excused_only_where_the_emulator_has_it_too() {
        let single = Kind { bare: false, races: false, wants_timeout: false };
        let multi = Kind { races: true, ..single };
        for (status, log, found) in [
            (PANIC, INT3, Fault::OldTranslation),
            (TIMEOUT, MIXED_UP, Fault::MixedUp),
            (0, MIXED_UP, Fault::MixedUp),
        ] {
            assert_eq!(fault(single, status, log), None);
            assert_eq!(fault(multi, status, log), Some(found));
            assert_eq!(found.repetitions(), 10);
        }
        // An int3 that did not end the guest is no panic.
        assert_eq!(fault(multi, 0, INT3), None);
    }

    #[test]
    fn only_bare_machines_may_hang() {
        let bare = Kind { bare: true, races: false, wants_timeout: false };
        assert_eq!(fault(bare, TIMEOUT, ""), Some(Fault::BareHung));
        assert_eq!(fault(Kind { wants_timeout: true, ..bare }, TIMEOUT, ""), None);
        assert_eq!(fault(Kind { bare: false, races: true, ..bare }, TIMEOUT, ""), None);
    }
}
