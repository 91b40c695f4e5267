//! What a patch module says about itself, in its `.lucos.*` sections.
//!
//! These records never cross a hypercall: `guest/include/lucos/patch.h` emits them, the `lucos`
//! command reads them from the module's file, and the update manager reads them from the loaded
//! module. In the file every address is 0 with a relocation.

/// Version of the records below. The manager refuses modules built with another one.
pub const PATCH_VERSION: u32 = 4;

/// In [`PatchRecord::flags`]: the module's code ends in no call of a function that it does not have
/// itself. Whoever was called by new code has the frame of that code below it.
pub const PATCH_NO_TAIL_CALLS: u32 = 1;

/// Section with one [`PatchRecord`].
pub const SECTION_PATCH: &str = ".lucos.patch";
/// Section with the [`PatchFunctionRecord`]s.
pub const SECTION_FUNCTIONS: &str = ".lucos.functions";
/// Section with the [`PatchExpectedRecord`]s.
pub const SECTION_EXPECTED: &str = ".lucos.expected";
/// Section with the names of the patches that this one needs, as
/// [`DependencyRecord`](crate::descriptor::DependencyRecord)s.
pub const SECTION_DEPENDENCIES: &str = ".lucos.dependencies";
/// Section with the [`PatchKeptRecord`]s.
pub const SECTION_KEPT: &str = ".lucos.kept";
/// Section with the addresses of the [`PatchValueRecord`]s.
pub const SECTION_VALUES: &str = ".lucos.values";
/// Section with the addresses of what describes the kinds of twins, `struct lucos_twins` of
/// `lucos/twin.h`.
pub const SECTION_TWINS: &str = ".lucos.twins";
/// Section with the addresses of what describes the data versions, `struct lucos_version` of
/// `lucos/version.h`.
pub const SECTION_VERSIONS: &str = ".lucos.versions";
/// Section with the addresses of what describes their shared fields, `struct lucos_version_shared`.
pub const SECTION_SHARED: &str = ".lucos.shared";

/// Start of the name of an undefined symbol that says which of several symbols it means:
/// `lucos.select.OBJECT.N.NAME`. OBJECT is `vmlinux` or the name of a module; N counts the
/// symbols of that name in the object from 1, in ascending order of their addresses, and 0 means
/// that there is only one.
pub const SELECT_PREFIX: &str = "lucos.select.";

/// Start of the name of an undefined symbol that means the start of a section of a loaded module:
/// `lucos.section.MODULE.BUILD_ID.SECTION`, with the module's GNU build id in hexadecimal digits.
/// The module that is loaded must have that build id, since what is where in a section is known of
/// that build only.
pub const SECTION_PREFIX: &str = "lucos.section.";

/// The object name of the kernel itself.
pub const KERNEL_OBJECT: &str = "vmlinux";

/// Most bytes of a patch's description, terminator included.
pub const DESCRIPTION_SIZE: usize = 128;

/// Most [`PatchKeptRecord`]s of a patch.
pub const MAX_KEPT: usize = 32;

/// Most kinds of twins of a patch.
pub const MAX_TWIN_KINDS: usize = 32;

record! {
    /// A patch module.
    pub struct PatchRecord = "lucos_patch", 392 bytes {
        /// [`PATCH_VERSION`].
        pub version: u32,
        /// Size of this record in bytes.
        pub size: u32,
        /// Name of the patch.
        pub name: [u8; 64],
        /// What it does, in one line.
        pub description: [u8; 128],
        /// Bytes of `build_id` in use; 0 when the patch fits any kernel.
        pub build_id_length: u32,
        /// GNU build id of the kernel that the patch was made for.
        pub build_id: [u8; 20],
        /// Address of the first [`PatchFunctionRecord`].
        pub functions: u64,
        /// Address behind the last one.
        pub functions_end: u64,
        /// Address of the first [`PatchExpectedRecord`].
        pub expected: u64,
        /// Address behind the last one.
        pub expected_end: u64,
        /// Address of the first dependency.
        pub dependencies: u64,
        /// Address behind the last one.
        pub dependencies_end: u64,
        /// Address of the first address of a [`PatchValueRecord`].
        pub values: u64,
        /// Address behind the last one.
        pub values_end: u64,
        /// Function that the manager calls when the patch has come into force; 0 for none.
        pub on_apply: u64,
        /// Function that the manager calls before the patch is taken out of force; 0 for none.
        pub on_rollback: u64,
        /// Address of the text that names the modules whose symbols were resolved; 0 for none.
        pub modules: u64,
        /// 1 when the module is loaded to be checked only.
        pub check_only: u32,
        /// 1 when the module is loaded to be applied in one step with others.
        pub join: u32,
        /// Address of the first [`PatchKeptRecord`]. When there is one, the module stays loaded after
        /// a rollback.
        pub kept: u64,
        /// Address behind the last one.
        pub kept_end: u64,
        /// `PATCH_*` bits.
        pub flags: u32,
        /// Zero.
        pub reserved: u32,
        /// Address of the first address of what describes a kind of twins.
        pub twins: u64,
        /// Address behind the last one.
        pub twins_end: u64,
        /// Address of the first address of what describes a data version.
        pub versions: u64,
        /// Address behind the last one.
        pub versions_end: u64,
        /// Address of the first address of what describes a shared field.
        pub shared: u64,
        /// Address behind the last one.
        pub shared_end: u64,
    }
}

record! {
    /// A function that a patch module replaces.
    pub struct PatchFunctionRecord = "lucos_patch_function", 160 bytes {
        /// Address of the old function.
        pub old_start: u64,
        /// Address of the new function.
        pub new_entry: u64,
        /// Flags, none are defined.
        pub flags: u32,
        /// Which of the symbols of this name, as in [`SELECT_PREFIX`].
        pub nth: u32,
        /// Name of the old function.
        pub name: [u8; 64],
        /// Object of the old function, as in [`SELECT_PREFIX`]; empty when the name is unique.
        pub object: [u8; 64],
        /// Zero.
        pub reserved: u64,
    }
}

record! {
    /// Some bytes of an object that a patch module changes.
    pub struct PatchValueRecord = "lucos_patch_value", 104 bytes {
        /// Address of the first byte.
        pub address: u64,
        /// Address of the bytes before the update.
        pub old: u64,
        /// Address of the bytes after the update.
        pub new: u64,
        /// Address of the bits that are compared and changed; 0: all of them.
        pub mask: u64,
        /// Number of bytes.
        pub length: u32,
        /// `VALUE_*` bits of the descriptor.
        pub flags: u32,
        /// What the bytes are called, as NUL-terminated text.
        pub name: [u8; 64],
    }
}

record! {
    /// The bytes that an old function must have at its site.
    pub struct PatchExpectedRecord = "lucos_patch_expected", 104 bytes {
        /// Name of the old function.
        pub name: [u8; 64],
        /// How many of `bytes` count.
        pub length: u32,
        /// Zero.
        pub reserved: u32,
        /// The bytes.
        pub bytes: [u8; 16],
        /// Which bits of them are compared.
        pub mask: [u8; 16],
    }
}

record! {
    /// Something of a patch module that the kernel may go on using after a rollback.
    pub struct PatchKeptRecord = "lucos_patch_kept", 192 bytes {
        /// What it is.
        pub what: [u8; 64],
        /// How the kernel comes to know it.
        pub how: [u8; 128],
    }
}
