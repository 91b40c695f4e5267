//! The whole task against a guest made of a byte array.

mod apply;
mod guest;
mod hostile;
mod lookup;
mod status;
mod withdraw;
