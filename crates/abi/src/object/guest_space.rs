//! The guest space: the nested page tables that all vCPUs share.

use serde::{Deserialize, Serialize};

/// One of the nested page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum View {
    /// In which the guest runs.
    Main,
    /// In which it runs confined, see [`super::VcpuRequest::Confined`].
    Confined,
}

/// Requests to the guest space (nested page tables).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpaceRequest {
    /// Gives the guest these rights in a view on a range of its physical addresses, each page onto
    /// itself.
    /// Pages of LUCOS are never given: they show the hidden page instead. Needs `WRITE`.
    ///
    /// When rights are taken away, the reply comes after every processor has forgotten the old. The
    /// status is `Late` when one does not in time: the rights are the new ones, but it may still use
    /// the old. When a part of the range cannot be changed, the status is `Refused`, or `Full`
    /// when there is no room for page tables, and other parts may have changed.
    Set {
        /// In which view.
        view: View,
        /// First address, page aligned.
        start: u64,
        /// Bytes, a multiple of the page size.
        length: u64,
        /// Reads allowed; without it nothing is.
        read: bool,
        /// Writes allowed.
        write: bool,
        /// Instruction fetches allowed.
        execute: bool,
    },
}
