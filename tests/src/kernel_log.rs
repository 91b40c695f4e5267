//! What the guest's kernel says when something went wrong inside it.

/// A shell command that prints such lines of the kernel's log.
///
/// The words are those of the kernel's messages, so far as no name of a function has them: a
/// backtrace that a test asks for may show `fd_install` or `blk_mq_stall`. An exception in the kernel
/// has its error code and number in brackets; one in a process has not.
pub const COMPLAINTS: &str = "dmesg | grep -E 'BUG:|kernel BUG at|(^|\\] )WARNING: |Oops|: 0000 \\[#\
    |general protection fault,|detected (expedited )?stall|hard LOCKUP|blocked for more than\
    |Uhhuh|unknown reason'";
