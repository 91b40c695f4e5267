//! Debian's packages as the host's tools need them: fetched into a cache and unpacked there
//! ([`archive`]), or installed on this machine ([`packages`]); and the kernels among them
//! ([`kernel`]), those that a file pins too ([`pinned`]).

#![forbid(unsafe_code)]

pub mod archive;
pub mod kernel;
pub mod packages;
pub mod pinned;
mod version;
