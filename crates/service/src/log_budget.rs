//! How much of the log the guest may cause to be written.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// A budget of lines about one thing that the guest does: some at once, and one more for each
/// interval that has passed.
///
/// The log is a ring: without a budget a guest would drive everything out of it in a second. Time is
/// the processor's time-stamp counter. A guest that sets it back gets no line sooner for that, nor is
/// it silent for ever afterwards.
#[derive(Debug)]
pub struct LogBudget {
    /// Ticks after which there is one line more.
    interval: u64,
    /// Ticks in which as many lines are earned as can be written at once.
    whole: u64,
    /// When all lines that were written will have been earned.
    earned: AtomicU64,
    /// Lines that were left out since the last one that was written.
    left_out: AtomicU64,
}

/// About a quarter of an hour, in ticks.
pub const QUARTER_HOUR: u64 = 3_000_000_000_000;

impl LogBudget {
    /// `burst` lines at once, and one more after each `interval` in ticks.
    pub const fn new(burst: u64, interval: u64) -> Self {
        Self {
            interval,
            whole: interval.saturating_mul(burst),
            earned: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// Writes a line by `log` at the time `now`, if the budget has one; it then also says how many
    /// were left out before.
    pub fn write(&self, now: u64, text: fmt::Arguments<'_>, log: impl FnOnce(fmt::Arguments<'_>)) {
        if !self.spend(now) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.left_out.swap(0, Ordering::Relaxed) {
            0 => log(text),
            count => log(format_args!("{text} ({count} such lines before it are left out)")),
        }
    }

    /// Takes a line from the budget; false when there is none.
    fn spend(&self, now: u64) -> bool {
        let full = now.saturating_add(self.whole);
        // Clamped from above too: the counter may have been set back.
        let before = |earned: u64| earned.clamp(now, full);
        let after =
            |earned: u64| before(earned).checked_add(self.interval).filter(|after| *after <= full);
        let spent = |earned: u64| Some(after(earned).unwrap_or(before(earned)));
        let relaxed = Ordering::Relaxed;
        let earned = self.earned.fetch_update(relaxed, relaxed, spent);
        earned.is_ok_and(|earned| after(earned).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::LogBudget;

    /// The lines that are written of some at the same time.
    fn written(budget: &LogBudget, now: u64, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for number in 0..count {
            budget.write(now, format_args!("{number}"), |line| lines.push(line.to_string()));
        }
        lines
    }

    #[test]
    fn a_flood_is_cut_and_counted_and_time_brings_lines_back() {
        let budget = LogBudget::new(3, 10);
        assert_eq!(written(&budget, 1000, 100), ["0", "1", "2"]);
        assert_eq!(written(&budget, 1009, 1), [""; 0]);
        assert_eq!(written(&budget, 1010, 2), ["0 (98 such lines before it are left out)"]);
        // However long it was quiet, no more than the first time.
        assert_eq!(written(&budget, 1_000_000, 100).len(), 3);
    }

    #[test]
    fn a_counter_that_is_set_back_neither_brings_lines_nor_silences() {
        let budget = LogBudget::new(3, 10);
        assert_eq!(written(&budget, 1_000_000, 10).len(), 3);
        assert_eq!(written(&budget, 5, 10).len(), 0);
        assert_eq!(written(&budget, 15, 10).len(), 1);
        assert_eq!(written(&budget, 35, 10).len(), 2);
        assert_eq!(written(&LogBudget::new(3, 10), u64::MAX, 10).len(), 0);
    }
}
