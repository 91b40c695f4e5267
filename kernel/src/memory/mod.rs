//! Memory: LUCOS's own region, and the view on everything else.

pub mod direct;
pub mod frames;
pub mod guest_ram;
pub mod heap;
pub mod kernel_space;
pub mod nested;
mod slot;
pub mod task_space;

/// Bytes of a page.
pub const PAGE: u64 = lucos_paging::PAGE;
