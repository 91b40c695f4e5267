//! Understanding guest code: instruction lengths, stores, and the patch window of a function.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
