//! Capability tables: which objects a task may use, and with which rights.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
