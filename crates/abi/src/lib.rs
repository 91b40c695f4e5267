//! The contract between kernel, tasks and boot stub: every message, call number and boot record.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
