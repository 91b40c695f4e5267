//! How a guest recognises LUCOS: by a model-specific register that no processor has.

/// The register. No processor will ever implement one from 0x4000_0000 to 0x4000_00ff (Intel SDM
/// vol. 4, 2.1), so that a read of it leaves every guest; Hyper-V's synthetic registers, and those
/// of who imitates it, have other numbers there.
///
/// Without LUCOS the read raises #GP, or gives a value with another upper half than [`SIGNATURE`].
pub const REGISTER: u32 = 0x4000_004c;

/// `LUCO`, the upper half of the register's value.
pub const SIGNATURE: u32 = u32::from_le_bytes(*b"LUCO");

/// Where the features begin in the lower half; below them is [`crate::INTERFACE_VERSION`].
pub const FEATURES_SHIFT: u32 = 16;

/// Feature bit: hypercalls are made with `vmmcall` (AMD-V). Without it with `vmcall` (VT-x).
pub const FEATURE_VMMCALL: u32 = 1 << 0;
/// Feature bit: functions can be replaced.
pub const FEATURE_FUNCTIONS: u32 = 1 << 1;
/// Feature bit: data versions can be applied.
pub const FEATURE_DATA_VERSIONS: u32 = 1 << 2;
/// Feature bit: values can be changed.
pub const FEATURE_VALUES: u32 = 1 << 3;
/// Feature bit: several patches can be applied and rolled back in one step.
pub const FEATURE_GROUPS: u32 = 1 << 4;

/// The value of [`REGISTER`] for a version of the interface and feature bits, 16 bits each.
#[must_use]
pub const fn value(version: u32, features: u32) -> u64 {
    (SIGNATURE as u64) << 32 | (features << FEATURES_SHIFT | version) as u64
}

const _: () = assert!(crate::INTERFACE_VERSION < 1 << FEATURES_SHIFT);
