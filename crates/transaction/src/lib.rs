//! The update transaction as a state machine over an abstract machine.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
