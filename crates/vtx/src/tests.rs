mod confine;
mod controls;
mod events;
mod exits;
mod state;

use lucos_abi::object::FlatStart;
use lucos_abi::registers::Registers;
use std::collections::HashMap;

use crate::{Vmcs, start_flat};

/// A VMCS in memory. Fields that nobody has written are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fake(HashMap<u32, u64>);

impl Vmcs for Fake {
    fn read(&self, field: u32) -> u64 {
        self.0.get(&field).copied().unwrap_or(0)
    }

    fn write(&mut self, field: u32, value: u64) {
        self.0.insert(field, value);
    }
}

impl Fake {
    fn with(mut self, fields: &[(u32, u64)]) -> Self {
        fields.iter().for_each(|(field, value)| self.write(*field, *value));
        self
    }
}

const START: FlatStart = FlatStart {
    rip: 0x100_0200,
    rsi: 0x9_0000,
    cr3: 0x7e00_0000,
    gdt_base: 0x7e00_8000,
    gdt_limit: 0x1f,
    code_selector: 0x10,
    data_selector: 0x18,
};

/// A guest that is ready to run.
fn ready() -> (Fake, Registers) {
    let (mut vmcs, mut general) = (Fake::default(), Registers::default());
    start_flat(&mut vmcs, &mut general, &START);
    (vmcs, general)
}
