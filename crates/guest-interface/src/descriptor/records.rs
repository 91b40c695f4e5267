//! The layout of a descriptor.

record! {
    /// The start of a descriptor.
    pub struct DescriptorHeader = "lucos_descriptor_header", 208 bytes {
        /// [`MAGIC`](super::MAGIC).
        pub magic: [u8; 8],
        /// [`DESCRIPTOR_VERSION`](super::DESCRIPTOR_VERSION).
        pub version: u32,
        /// Size of this header in bytes.
        pub header_size: u32,
        /// Size of the descriptor in bytes.
        pub total_length: u32,
        /// `FLAG_*` bits.
        pub flags: u32,
        /// Name of the patch.
        pub name: [u8; 64],
        /// Bytes of `build_id` in use; 0 when the patch fits any kernel.
        pub build_id_length: u32,
        /// GNU build id of the kernel that the patch was made for, zero behind its end.
        pub build_id: [u8; 20],
        /// Number of [`FunctionRecord`]s.
        pub function_count: u32,
        /// Their offset from the start of the descriptor; 0 when there are none.
        pub function_offset: u32,
        /// Number of [`DataVersionRecord`]s.
        pub data_count: u32,
        /// Their offset; 0 when there are none.
        pub data_offset: u32,
        /// Number of [`SharedFieldRecord`]s.
        pub shared_count: u32,
        /// Their offset; 0 when there are none.
        pub shared_offset: u32,
        /// Number of [`DependencyRecord`]s.
        pub dependency_count: u32,
        /// Their offset; 0 when there are none.
        pub dependency_offset: u32,
        /// Function to call before the update is put in force; 0 for none.
        pub pre_apply: u64,
        /// Function to call after the update is in force; 0 for none.
        pub post_apply: u64,
        /// Function to call before the update is taken back; 0 for none.
        pub pre_rollback: u64,
        /// Function to call after the update is taken back; 0 for none.
        pub post_rollback: u64,
        /// Zero.
        pub reserved: [u64; 4],
    }
}

record! {
    /// One function to replace.
    pub struct FunctionRecord = "lucos_function", 144 bytes {
        /// Address of the old function.
        pub old_start: u64,
        /// Address of the new function.
        pub new_entry: u64,
        /// Size of the old function in bytes, padding behind it included.
        pub old_size: u32,
        /// Offset of the site in the old function.
        pub site_offset: u32,
        /// Size of the new function in bytes.
        pub new_size: u32,
        /// `FUNCTION_*` bits.
        pub flags: u32,
        /// A [`WindowReason`](crate::status::WindowReason): why the window must keep its trap.
        pub reason: u32,
        /// How many of `expected` count.
        pub expected_length: u32,
        /// The bytes that must stand at the site before the update.
        pub expected: [u8; 16],
        /// Which bits of `expected` are compared.
        pub expected_mask: [u8; 16],
        /// Name of the old function.
        pub name: [u8; 64],
        /// Zero.
        pub reserved: u64,
    }
}

record! {
    /// A data object of which a new version is made.
    pub struct DataVersionRecord = "lucos_data_version", 152 bytes {
        /// Address of the old object; 0 when `instances` gives the objects.
        pub old_object: u64,
        /// Address of the new object; 0 when `instances` gives the objects.
        pub new_object: u64,
        /// Size of the old object in bytes.
        pub old_size: u64,
        /// Size of the new object in bytes.
        pub new_size: u64,
        /// Function that carries the state of the old object to the new one.
        pub to_new: u64,
        /// Function that carries the state of the new object to the old one.
        pub to_old: u64,
        /// Function that gives one pair of objects after the other; 0 for a single instance.
        pub instances: u64,
        /// Index of the first shared field.
        pub shared_first: u32,
        /// Number of shared fields.
        pub shared_count: u32,
        /// Flags, none are defined.
        pub flags: u32,
        /// Zero.
        pub reserved: u32,
        /// Name of the object or of its type.
        pub name: [u8; 64],
        /// Zero.
        pub reserved2: [u64; 2],
    }
}

record! {
    /// A field that both versions of an object share, such as a lock or a list head.
    pub struct SharedFieldRecord = "lucos_shared_field", 16 bytes {
        /// Offset in the old object.
        pub old_offset: u32,
        /// Offset in the new object.
        pub new_offset: u32,
        /// Size in bytes.
        pub size: u32,
        /// Zero.
        pub reserved: u32,
    }
}

record! {
    /// A patch that must be applied before this one.
    pub struct DependencyRecord = "lucos_dependency", 72 bytes {
        /// Name of the patch.
        pub name: [u8; 64],
        /// Zero.
        pub reserved: u64,
    }
}
