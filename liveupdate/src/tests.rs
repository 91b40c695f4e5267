//! The whole task against a guest made of a byte array.

mod apply;
mod data;
mod endings;
mod guarded;
mod guest;
mod hostile;
mod lookup;
mod manager;
mod pairs;
mod status;
mod withdraw;
