//! Starts an image under QEMU or Bochs, talks to it, returns a verdict.

#![forbid(unsafe_code)]
