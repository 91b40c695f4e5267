//! What the guest is told of LUCOS before its first hypercall.

use lucos_guest_interface::INTERFACE_VERSION;
use lucos_guest_interface::detection::{
    self, FEATURE_DATA_VERSIONS, FEATURE_FUNCTIONS, FEATURE_GROUPS, FEATURE_VALUES, FEATURE_VMMCALL,
};
use lucos_linux_boot::entry::CallInstruction;
use lucos_system_info::{Extension, SystemInfo};

/// The instruction with which this machine's guest calls LUCOS.
pub const fn call_instruction(info: &SystemInfo) -> CallInstruction {
    match info.extension {
        Extension::Svm { .. } => CallInstruction::Vmmcall,
        Extension::Vtx => CallInstruction::Vmcall,
    }
}

/// The features of LUCOS, as its register and the first hypercall tell them.
pub const fn features(info: &SystemInfo) -> u32 {
    let instruction = match call_instruction(info) {
        CallInstruction::Vmmcall => FEATURE_VMMCALL,
        CallInstruction::Vmcall => 0,
    };
    let kinds = FEATURE_FUNCTIONS | FEATURE_VALUES | FEATURE_GROUPS | FEATURE_DATA_VERSIONS;
    kinds | instruction
}

/// The value of [`detection::REGISTER`].
pub const fn register(info: &SystemInfo) -> u64 {
    detection::value(INTERFACE_VERSION, features(info))
}

#[cfg(test)]
mod tests {
    use super::{call_instruction, register};
    use crate::fake;
    use lucos_linux_boot::entry::CallInstruction;
    use lucos_system_info::{Extension, SystemInfo};

    #[test]
    fn the_extension_decides_how_calls_are_made() {
        let amd = fake::info();
        assert_eq!(call_instruction(&amd), CallInstruction::Vmmcall);
        assert_eq!(register(&amd), 0x4f43_554c_001f_0003);
        let intel = SystemInfo { extension: Extension::Vtx, ..amd };
        assert_eq!(call_instruction(&intel), CallInstruction::Vmcall);
        assert_eq!(register(&intel), 0x4f43_554c_001e_0003);
    }
}
