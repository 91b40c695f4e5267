//! The CPUID leaves by which a guest recognises LUCOS.

/// EAX: highest LUCOS leaf; EBX, ECX, EDX: [`SIGNATURE`].
pub const LEAF_SIGNATURE: u32 = 0x4000_0000;

/// EAX: [`crate::INTERFACE_VERSION`]; EBX: feature bits (`FEATURE_*`); ECX, EDX: 0.
pub const LEAF_INTERFACE: u32 = 0x4000_0001;

/// The highest leaf that LUCOS answers.
pub const LEAF_HIGHEST: u32 = LEAF_INTERFACE;

/// The twelve bytes in EBX, ECX, EDX of [`LEAF_SIGNATURE`].
pub const SIGNATURE: [u8; 12] = *b"LUCOSLUCOS\0\0";

/// `LUCO`, EBX of [`LEAF_SIGNATURE`].
pub const SIGNATURE_EBX: u32 = u32::from_le_bytes(*b"LUCO");
/// `SLUC`, ECX of [`LEAF_SIGNATURE`].
pub const SIGNATURE_ECX: u32 = u32::from_le_bytes(*b"SLUC");
/// `OS`, EDX of [`LEAF_SIGNATURE`].
pub const SIGNATURE_EDX: u32 = u32::from_le_bytes(*b"OS\0\0");

/// Feature bit: hypercalls are made with `vmmcall` (AMD-V). Without it with `vmcall` (VT-x).
pub const FEATURE_VMMCALL: u32 = 1 << 0;
/// Feature bit: functions can be replaced.
pub const FEATURE_FUNCTIONS: u32 = 1 << 1;
/// Feature bit: data versions can be applied.
pub const FEATURE_DATA_VERSIONS: u32 = 1 << 2;
/// Feature bit: apply and rollback hooks are run.
pub const FEATURE_HOOKS: u32 = 1 << 3;
