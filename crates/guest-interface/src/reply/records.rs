//! The records that only the manager fills.

record! {
    /// The start of a reply.
    pub struct ReplyHeader = "lucos_reply", 16 bytes {
        /// [`REPLY_VERSION`](super::REPLY_VERSION).
        pub version: u32,
        /// Number of records.
        pub records: u32,
        /// Bytes of the reply, this header included.
        pub length: u64,
    }
}

record! {
    /// The start of a record in a reply.
    pub struct RecordHeader = "lucos_record", 8 bytes {
        /// A [`RecordKind`](super::RecordKind).
        pub kind: u32,
        /// Bytes of the record behind this header, a multiple of eight.
        pub size: u32,
    }
}

record! {
    /// Why something failed.
    pub struct Failure = "lucos_failure", 80 bytes {
        /// An [`ErrorCode`](crate::ErrorCode).
        pub code: u32,
        /// Zero.
        pub reserved: u32,
        /// An address or number that says more, 0 for none.
        pub detail: u64,
        /// The patch, function or module at fault as NUL-terminated text; may be empty.
        pub subject: [u8; 64],
    }
}

record! {
    /// The state of the manager.
    pub struct ManagerStatus = "lucos_manager_status", 8 bytes {
        /// Version of the interface that it speaks.
        pub interface: u32,
        /// Functions of applied patches whose calls are led elsewhere before they get to LUCOS's
        /// site.
        pub overridden: u32,
    }
}

record! {
    /// A processor that the kernel knows and LUCOS does not have.
    pub struct OutsideProcessor = "lucos_outside_processor", 8 bytes {
        /// What the kernel calls it.
        pub number: u32,
        /// Zero.
        pub reserved: u32,
    }
}

record! {
    /// A patch whose module is loaded.
    pub struct LoadedPatch = "lucos_loaded_patch", 272 bytes {
        /// A [`LoadedState`](super::LoadedState).
        pub state: u32,
        /// What LUCOS calls it.
        pub number: u32,
        /// Number of functions.
        pub functions: u32,
        /// Those whose calls are led elsewhere before they get to LUCOS's site.
        pub overridden: u32,
        /// Name of the patch.
        pub name: [u8; 64],
        /// Name of its module.
        pub module: [u8; 64],
        /// What it does, as NUL-terminated text; may be empty.
        pub description: [u8; 128],
    }
}

record! {
    /// A function of a loaded patch.
    pub struct LoadedFunction = "lucos_loaded_function", 72 bytes {
        /// Why the site is the ftrace slot: an [`ErrorCode`](crate::ErrorCode); 0 when it is not.
        pub at_slot: u32,
        /// 1 when calls are led elsewhere before they get to the site.
        pub overridden: u32,
        /// Module that the old function belongs to; empty for the kernel.
        pub module: [u8; 64],
    }
}

record! {
    /// How many twins of a kind a patch has.
    pub struct TwinCount = "lucos_twin_count", 72 bytes {
        /// How many.
        pub count: u64,
        /// Name of the kind.
        pub name: [u8; 64],
    }
}

record! {
    /// Who stands in the way: of a jump, in its window; of the end of a patch that was rolled back, in
    /// its module.
    pub struct Inside = "lucos_inside", 208 bytes {
        /// What the kernel calls the thread.
        pub thread: u32,
        /// Zero.
        pub reserved: u32,
        /// For how many seconds it has been found there.
        pub seconds: u64,
        /// Name of the thread, as NUL-terminated text; may be empty.
        pub name: [u8; 64],
        /// Where it is, returns to, or has the address of, as NUL-terminated text; empty when it moved
        /// too fast to say.
        pub place: [u8; 128],
    }
}

record! {
    /// A patch is taken back by itself when the kernel gets into trouble.
    pub struct Probation = "lucos_probation", 8 bytes {
        /// For how many seconds more, at least one.
        pub seconds: u32,
        /// Zero.
        pub reserved: u32,
    }
}

record! {
    /// A piece of the log.
    pub struct LogPiece = "lucos_log_piece", 16 bytes {
        /// Offset of the first byte in the log.
        pub offset: u64,
        /// Bytes of text.
        pub length: u64,
    }
}

record! {
    /// Stops that were made to be measured.
    pub struct MeasuredStops = "lucos_measured_stops", 16 bytes {
        /// How many.
        pub stops: u64,
        /// The longest one in TSC ticks.
        pub longest: u64,
    }
}

record! {
    /// How the last load of a patch module ended.
    pub struct LoadOutcome = "lucos_load_outcome", 8 bytes {
        /// A [`Verdict`](super::Verdict). Behind [`Verdict::Refused`](super::Verdict::Refused) stands a [`Failure`].
        pub verdict: u32,
        /// Zero.
        pub reserved: u32,
    }
}

record! {
    /// Something that became of a patch.
    pub struct Event = "lucos_event", 184 bytes {
        /// When, in nanoseconds since 1970 by the guest's clock.
        pub time: u64,
        /// An [`EventKind`](super::EventKind).
        pub kind: u32,
        /// An [`ErrorCode`](crate::ErrorCode) for what was refused, a
        /// [`Cause`](crate::call::Cause) for what was withdrawn, else 0.
        pub code: u32,
        /// An address or number that says more, 0 for none.
        pub detail: u64,
        /// What LUCOS calls the patch, 0 when it does not know it.
        pub number: u32,
        /// Process that asked for it, 0 for the kernel.
        pub process: u32,
        /// Its user.
        pub user: u32,
        /// Zero.
        pub reserved: u32,
        /// Name of the patch.
        pub name: [u8; 64],
        /// The function, value or other patch at fault as NUL-terminated text; may be empty.
        pub subject: [u8; 64],
        /// Name of the program that asked for it as NUL-terminated text.
        pub program: [u8; 16],
    }
}
