//! The lucos command inside the guest.

#![forbid(unsafe_code)]

fn main() {}
