//! AMD-V: one back-end of `arch::vcpu`.
pub mod vcpu;
pub mod world_switch;
use crate::fatal::Fatal;
pub fn probe() -> Result<(), Fatal> {
    Ok(())
}
