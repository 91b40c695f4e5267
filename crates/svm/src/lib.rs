//! The AMD-V control block: layout, optional assists, consistency checks, exits.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
