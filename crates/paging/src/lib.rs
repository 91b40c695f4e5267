//! Page tables as pure algorithms: walk, map, protect, over any memory.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
