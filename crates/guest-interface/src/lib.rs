//! The interface between LUCOS and its guest: CPUID leaves, hypercalls, error codes and the update descriptor.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
