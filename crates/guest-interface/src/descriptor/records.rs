//! The layout of a descriptor.

record! {
    /// The start of a descriptor.
    pub struct DescriptorHeader = "lucos_descriptor_header", 176 bytes {
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
        /// Number of [`ValueRecord`]s.
        pub value_count: u32,
        /// Their offset; 0 when there are none.
        pub value_offset: u32,
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
        /// Zero.
        pub reserved: [u64; 3],
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
    /// Some bytes of an object that the patch changes.
    pub struct ValueRecord = "lucos_value", 136 bytes {
        /// Address of the first byte.
        pub address: u64,
        /// The bytes before the update, zero where the mask has no bit and behind the end.
        pub old: [u8; 16],
        /// The bytes after the update, in the same way.
        pub new: [u8; 16],
        /// Which bits are compared and changed. The first and the last byte have one at least.
        pub mask: [u8; 16],
        /// Number of bytes, 1 to [`VALUE_SIZE`](super::VALUE_SIZE).
        pub length: u32,
        /// `VALUE_*` bits.
        pub flags: u32,
        /// What the bytes are called.
        pub name: [u8; 64],
        /// Zero.
        pub reserved: u64,
    }
}

record! {
    /// A kind of object of which the patch has a new version, the twin, with all pairs of the two.
    ///
    /// The lists and the stage are memory of the update manager. Without a pair they are all 0.
    pub struct DataVersionRecord = "lucos_data_version", 144 bytes {
        /// Address of the pairs, in the order of the objects: for each the address of the object and
        /// that of the twin.
        pub pairs_by_object: u64,
        /// Number of pairs.
        pub pair_count: u32,
        /// `DATA_*` bits.
        pub flags: u32,
        /// Address of the same pairs in the order of the twins.
        pub pairs_by_twin: u64,
        /// Address of the ascending addresses of all pages on which objects and twins lie.
        pub pages: u64,
        /// Number of pages.
        pub page_count: u32,
        /// Bytes from one place of the stage to the next, a multiple of 16. A place holds a target
        /// twice: what it was, and what it becomes.
        pub stage_step: u32,
        /// Address of the stage, a page's start: a place for each pair, in the order of the objects.
        pub stage: u64,
        /// Size of an object in bytes, 1 to [`MAX_INSTANCE_SIZE`](super::MAX_INSTANCE_SIZE).
        pub object_size: u32,
        /// Size of a twin in bytes, the same.
        pub twin_size: u32,
        /// Function that makes the twin of the object.
        pub to_new: u64,
        /// Function that makes the object of the twin.
        pub to_old: u64,
        /// Index of the first shared field.
        pub shared_first: u32,
        /// Number of shared fields.
        pub shared_count: u32,
        /// Name of the object or of its type.
        pub name: [u8; 64],
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
