//! Records of data versions that cross the interface outside of a descriptor.

record! {
    /// What [`Pair`](crate::call::Call::Pair) and [`Unpair`](crate::call::Call::Unpair) are about.
    pub struct PairRecord = "lucos_pair", 24 bytes {
        /// Number of the patch.
        pub number: u32,
        /// Index of the data version in its descriptor.
        pub version: u32,
        /// Address of the object.
        pub object: u64,
        /// Address of its twin.
        pub twin: u64,
    }
}

/// Most [`StoppedProcessor`]s on a page.
pub const STOPPED_PROCESSORS: usize = 28;

record! {
    /// The start of the scratch page of a [`Witness`](crate::call::Upcall::Witness).
    pub struct StoppedProcessors = "lucos_stopped_processors", 16 bytes {
        /// Number of [`StoppedProcessor`]s behind this record.
        pub count: u32,
        /// 1 when another upcall follows for the rest of them.
        pub more: u32,
        /// Zero.
        pub reserved: u64,
    }
}

record! {
    /// Where a processor of the guest stands.
    pub struct StoppedProcessor = "lucos_stopped_processor", 144 bytes {
        /// Its local APIC id.
        pub apic_id: u32,
        /// Its privilege level.
        pub cpl: u32,
        /// Instruction pointer.
        pub rip: u64,
        /// Stack pointer.
        pub rsp: u64,
        /// RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15.
        pub registers: [u64; 15],
    }
}

const _: () = assert!(
    StoppedProcessors::SIZE + STOPPED_PROCESSORS * StoppedProcessor::SIZE <= 4096,
    "the scratch page is one page"
);
