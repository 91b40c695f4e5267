//! The table of code updates: what each costs under LUCOS, beside the same change through the
//! guest's own livepatch, in the same guest.

mod measured;
mod page;
mod picture;
mod rows;
pub mod script;
mod table;
#[cfg(test)]
mod tests;

pub use measured::{Error, Livepatch, Lucos, Measured, Step, derive};
pub use page::replace;
pub use picture::{PictureError, picture};
pub use rows::{Change, Origin, Paper, changes};
pub use table::table;
