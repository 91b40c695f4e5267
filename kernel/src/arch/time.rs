//! Time, in ticks of the time-stamp counter. Their rate is not known and not needed.

/// About a second.
pub const A_SECOND: u64 = 3_000_000_000;

/// Ticks since reset.
pub fn ticks() -> u64 {
    // SAFETY: RDTSC only reads a counter; ring 0 may always execute it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Waits for so many ticks.
pub fn wait(length: u64) {
    let end = Timer::start();
    while end.passed() < length {
        core::hint::spin_loop();
    }
}

/// When something began.
#[derive(Clone, Copy, Debug)]
pub struct Timer(u64);

impl Timer {
    /// Now.
    pub fn start() -> Self {
        Self(ticks())
    }

    /// Ticks since then.
    pub fn passed(self) -> u64 {
        ticks().wrapping_sub(self.0)
    }
}
