//! The engine against a machine that fails and crashes.

mod crash;
mod failure;
mod rules;
mod sequence;
mod world;
