//! The model of updates that change data: all of it is in `tests/model`.
//!
//! It is a guest of a few threads, with a manager that asks for updates, on which the code of
//! `lucos-transaction` and `lucos-data-versions` runs as it does in LUCOS.
//! `docs/decisions/0016-model.md` says what it looks at and what it leaves out.

#![no_std]
#![forbid(unsafe_code)]
