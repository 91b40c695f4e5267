//! The runtime of a task: entry, calls, message page, heap, panic.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
