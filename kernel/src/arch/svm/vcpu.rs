use crate::arch::local::Shared;
use crate::arch::vcpu::Entered;
use crate::fatal::Fatal;
use lucos_abi::object::*;
use lucos_abi::registers::Registers;
pub struct SvmVcpu;
impl SvmVcpu {
    pub fn new(_: &'static Shared) -> Result<Self, Fatal> {
        Ok(Self)
    }
    pub fn enter(&mut self) -> Entered {
        Entered::Again
    }
    pub fn pend_nmi(&mut self) {}
    pub fn start(&mut self, _: &FlatStart) {}
    pub fn instruction_length(&self) -> u8 {
        0
    }
    pub fn registers(&self) -> Registers {
        Registers::default()
    }
    pub fn set_registers(&mut self, _: &Registers) {}
    pub fn inject(&mut self, _: Event) {}
    pub fn write_efer(&mut self, _: u64) -> bool {
        false
    }
}
