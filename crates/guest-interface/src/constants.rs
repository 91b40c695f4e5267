//! The constants that the C header repeats, under their C names.

use crate::{call, descriptor, detection, name, patch_module, registration, status};

/// A constant of the C header with its value.
pub type Constant = (&'static str, u64);

/// Every plain constant of the interface. The members of the listings (errors, hypercalls,
/// reasons ...) are not repeated here.
pub const CONSTANTS: &[Constant] = &[
    ("LUCOS_INTERFACE_VERSION", crate::INTERFACE_VERSION as u64),
    ("LUCOS_REGISTER", detection::REGISTER as u64),
    ("LUCOS_SIGNATURE", detection::SIGNATURE as u64),
    ("LUCOS_FEATURES_SHIFT", detection::FEATURES_SHIFT as u64),
    ("LUCOS_FEATURE_VMMCALL", detection::FEATURE_VMMCALL as u64),
    ("LUCOS_FEATURE_FUNCTIONS", detection::FEATURE_FUNCTIONS as u64),
    ("LUCOS_FEATURE_DATA_VERSIONS", detection::FEATURE_DATA_VERSIONS as u64),
    ("LUCOS_FEATURE_HOOKS", detection::FEATURE_HOOKS as u64),
    ("LUCOS_CALL_BASE", call::CALL_BASE),
    ("LUCOS_MAX_DESCRIPTOR_LENGTH", call::MAX_DESCRIPTOR_LENGTH as u64),
    ("LUCOS_MAX_BUFFER_LENGTH", call::MAX_BUFFER_LENGTH as u64),
    ("LUCOS_MAX_MEASURED_STOPS", call::MAX_MEASURED_STOPS),
    ("LUCOS_ALL_FUNCTIONS", call::ALL_FUNCTIONS as u64),
    ("LUCOS_ALL_PROCESSORS", call::ALL_PROCESSORS as u64),
    ("LUCOS_NO_ITEM", call::NO_ITEM as u64),
    ("LUCOS_NAME_SIZE", name::NAME_SIZE as u64),
    ("LUCOS_BUILD_ID_SIZE", registration::BUILD_ID_SIZE as u64),
    ("LUCOS_REGISTRATION_VERSION", registration::REGISTRATION_VERSION as u64),
    ("LUCOS_MAGIC", u64::from_le_bytes(descriptor::MAGIC)),
    ("LUCOS_DESCRIPTOR_VERSION", descriptor::DESCRIPTOR_VERSION as u64),
    ("LUCOS_MAX_FUNCTIONS", descriptor::MAX_FUNCTIONS as u64),
    ("LUCOS_MAX_DATA_VERSIONS", descriptor::MAX_DATA_VERSIONS as u64),
    ("LUCOS_MAX_SHARED_FIELDS", descriptor::MAX_SHARED_FIELDS as u64),
    ("LUCOS_MAX_DEPENDENCIES", descriptor::MAX_DEPENDENCIES as u64),
    ("LUCOS_EXPECTED_SIZE", descriptor::EXPECTED_SIZE as u64),
    ("LUCOS_JUMP_SIZE", descriptor::JUMP_SIZE),
    ("LUCOS_FLAG_CHECK_ONLY", descriptor::FLAG_CHECK_ONLY as u64),
    ("LUCOS_FUNCTION_FENTRY_SLOT", descriptor::FUNCTION_FENTRY_SLOT as u64),
    ("LUCOS_FUNCTION_SITE_IS_SLOT", descriptor::FUNCTION_SITE_IS_SLOT as u64),
    ("LUCOS_FUNCTION_NO_JUMP", descriptor::FUNCTION_NO_JUMP as u64),
    ("LUCOS_PATCH_VERSION", patch_module::PATCH_VERSION as u64),
    ("LUCOS_DESCRIPTION_SIZE", patch_module::DESCRIPTION_SIZE as u64),
    ("LUCOS_MAX_KEPT", patch_module::MAX_KEPT as u64),
    ("LUCOS_STATUS_VERSION", status::STATUS_VERSION as u64),
    ("LUCOS_EXIT_COUNTERS", status::EXIT_COUNTERS as u64),
    ("LUCOS_CONTAINS_INIT", status::CONTAINS_INIT as u64),
    ("LUCOS_CONTAINS_DMA", status::CONTAINS_DMA as u64),
    ("LUCOS_ASSIST_NEXT_RIP", status::ASSIST_NEXT_RIP as u64),
    ("LUCOS_ASSIST_FLUSH_BY_ASID", status::ASSIST_FLUSH_BY_ASID as u64),
    ("LUCOS_ASSIST_DECODE", status::ASSIST_DECODE as u64),
    ("LUCOS_ASSIST_CLEAN_BITS", status::ASSIST_CLEAN_BITS as u64),
    ("LUCOS_ASSIST_VIRTUAL_NMI", status::ASSIST_VIRTUAL_NMI as u64),
    ("LUCOS_ASSIST_PAUSE_FILTER", status::ASSIST_PAUSE_FILTER as u64),
];
