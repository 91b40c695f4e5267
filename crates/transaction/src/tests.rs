//! The engine against a guest that fails and crashes.

mod crash;
mod data;
mod failure;
mod graph;
mod rules;
mod sequence;
mod world;
