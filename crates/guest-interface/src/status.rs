//! The records that [`Query`](crate::call::Call::Query) fills.

use crate::descriptor::MAX_FUNCTIONS;

/// Version of every status record.
pub const STATUS_VERSION: u32 = 1;

/// Number of counters in [`ExitCounters`]; those without an [`ExitClass`] are zero.
pub const EXIT_COUNTERS: usize = 24;

listing! {
    /// The virtualization extension in use.
    pub enum Extension {
        Svm = 1, "SVM", "AMD-V";
        Vmx = 2, "VMX", "Intel VT-x";
    }
}

listing! {
    /// What is true of a patch.
    pub enum PatchState {
        Applied = 1, "APPLIED", "the new functions are in force";
        RolledBack = 2, "ROLLED_BACK", "the old functions are in force again";
    }
}

listing! {
    /// What stands at the site of a function.
    pub enum SiteState {
        Original = 0, "ORIGINAL", "the original bytes";
        Trap = 1, "TRAP", "a one-byte trap";
        Jump = 2, "JUMP", "a jump";
        Covered = 3, "COVERED", "the redirection of a later patch";
        Overridden = 4, "OVERRIDDEN", "bytes that LUCOS did not write";
    }
}

listing! {
    /// What stands at a value.
    pub enum ValueState {
        Original = 0, "ORIGINAL", "what was there before, or what the guest made of it since";
        Changed = 1, "CHANGED", "the bytes of the patch";
        LeftAlone = 2, "LEFT_ALONE", "what was there before: it was not the default";
        Covered = 3, "COVERED", "the value of a later patch";
        Overwritten = 4, "OVERWRITTEN", "what the guest wrote in place of the patch's bytes";
    }
}

listing! {
    /// Which side of a data version lives.
    pub enum VersionState {
        Old = 0, "OLD", "the objects";
        Both = 1, "BOTH", "objects and twins, each write is carried";
        New = 2, "NEW", "the twins";
    }
}

listing! {
    /// Why a window keeps its trap instead of a jump.
    pub enum WindowReason {
        None = 0, "NONE", "nothing speaks against the jump";
        JumpLabel = 1, "JUMP_LABEL", "a jump label lies in the window";
        StaticCall = 2, "STATIC_CALL", "a static call lies in the window";
        Alternative = 3, "ALTERNATIVE", "an alternative or a LOCK prefix lies in the window";
        ExceptionTable = 4, "EXCEPTION_TABLE", "an instruction in the window has an exception-table entry";
        Bug = 5, "BUG", "a BUG or WARN lies in the window";
        Kprobe = 6, "KPROBE", "a kprobe lies in the window";
        FtraceSlot = 7, "FTRACE_SLOT", "an ftrace slot lies in the window";
        Branch = 8, "BRANCH", "the function branches into the window";
        TooShort = 9, "TOO_SHORT", "the function is too short for a jump";
        Unknown = 10, "UNKNOWN", "the kernel's tables cannot be read";
        IndirectJump = 11, "INDIRECT_JUMP", "the function jumps to addresses that are not known";
    }
}

listing! {
    /// Classes of VM exits.
    pub enum ExitClass {
        Cpuid = 0, "CPUID", "CPUID";
        Hypercall = 1, "HYPERCALL", "hypercalls";
        MsrRead = 2, "MSR_READ", "reads of MSRs";
        MsrWrite = 3, "MSR_WRITE", "writes of MSRs";
        Virtualization = 4, "VIRTUALIZATION", "virtualization instructions";
        Nmi = 5, "NMI", "NMIs, kicks included";
        NestedPageFault = 6, "NESTED_PAGE_FAULT", "accesses to protected or hidden pages";
        Redirection = 7, "REDIRECTION", "calls of replaced functions by way of a trap";
        InvalidOpcode = 8, "INVALID_OPCODE", "#UD handed back to the guest";
        Debug = 9, "DEBUG", "single steps";
        Init = 10, "INIT", "INIT signals";
        Shutdown = 11, "SHUTDOWN", "triple faults";
        ControlRegister = 12, "CONTROL_REGISTER", "writes of control registers";
        Xsetbv = 13, "XSETBV", "XSETBV";
        Halt = 14, "HALT", "processors that wait for their start";
        Iret = 15, "IRET", "ends of NMI handlers";
        Other = 16, "OTHER", "everything else";
    }
}

/// Most processors that LUCOS uses.
pub const MAX_PROCESSORS: usize = 64;

/// [`SystemStatus::containment`]: INIT that the guest sends to its own processors is intercepted.
pub const CONTAINS_INIT: u32 = 1 << 0;
/// [`SystemStatus::containment`]: devices cannot write to LUCOS (an IOMMU confines them).
pub const CONTAINS_DMA: u32 = 1 << 1;

/// [`SystemStatus::assists`]: the machine saves the address of the next instruction.
pub const ASSIST_NEXT_RIP: u32 = 1 << 0;
/// [`SystemStatus::assists`]: the TLB can be flushed for one ASID.
pub const ASSIST_FLUSH_BY_ASID: u32 = 1 << 1;
/// [`SystemStatus::assists`]: the machine decodes instructions for exits.
pub const ASSIST_DECODE: u32 = 1 << 2;
/// [`SystemStatus::assists`]: the machine has VMCB clean bits.
pub const ASSIST_CLEAN_BITS: u32 = 1 << 3;
/// [`SystemStatus::assists`]: virtual NMIs.
pub const ASSIST_VIRTUAL_NMI: u32 = 1 << 4;
/// [`SystemStatus::assists`]: the pause filter.
pub const ASSIST_PAUSE_FILTER: u32 = 1 << 5;

record! {
    /// The state of LUCOS.
    pub struct SystemStatus = "lucos_system_status", 208 bytes {
        /// [`STATUS_VERSION`].
        pub version: u32,
        /// An [`Extension`].
        pub extension: u32,
        /// `ASSIST_*` bits.
        pub assists: u32,
        /// `CONTAINS_*` bits.
        pub containment: u32,
        /// Number of vCPUs.
        pub vcpus: u32,
        /// 1 when an update manager is registered.
        pub registered: u32,
        /// Patches in the list, rolled back ones included.
        pub patches: u32,
        /// Patches in force.
        pub applied: u32,
        /// Functions that are redirected by a trap.
        pub trapping: u32,
        /// Functions that are redirected by a jump.
        pub jumping: u32,
        /// Patches that LUCOS can remember.
        pub patch_capacity: u32,
        /// Restarts of LUCOS's tasks after a fault.
        pub restarts: u32,
        /// Physical address of the memory that LUCOS keeps for itself.
        pub region_start: u64,
        /// Size of that memory in bytes.
        pub region_size: u64,
        /// Stops of all processors since LUCOS started.
        pub stops: u64,
        /// The longest of these stops in TSC ticks.
        pub longest_stop: u64,
        /// Writes of the guest to hidden memory.
        pub hidden_writes: u64,
        /// Offset of the oldest byte of the log that is still there.
        pub log_start: u64,
        /// Offset behind the newest byte of the log.
        pub log_end: u64,
        /// Boot identity of the registered kernel.
        pub boot_identity: [u8; 16],
        /// Version of LUCOS as NUL-terminated text.
        pub release: [u8; 64],
        /// Calls of LUCOS's tasks to its kernel and to each other since it started.
        pub messages: u64,
        /// Length of the last stop in TSC ticks: from its begin until every processor that was in
        /// the guest is there again.
        pub last_stop: u64,
        /// Zero.
        pub reserved2: u64,
    }
}

record! {
    /// One patch.
    pub struct PatchStatus = "lucos_patch_status", 136 bytes {
        /// [`STATUS_VERSION`].
        pub version: u32,
        /// Patch number, as APPLY gave it.
        pub number: u32,
        /// A [`PatchState`].
        pub state: u32,
        /// Number of functions.
        pub functions: u32,
        /// Functions that are redirected by a trap.
        pub trapping: u32,
        /// Functions that are redirected by a jump.
        pub jumping: u32,
        /// Number of data versions.
        pub data_versions: u32,
        /// Number of values.
        pub values: u32,
        /// Length of the stop in which the patch was applied, in TSC ticks.
        pub apply_stop: u64,
        /// Length of the longest stop in which jumps were written, in TSC ticks.
        pub jump_stop: u64,
        /// Length of the stop in which it was rolled back, in TSC ticks.
        pub rollback_stop: u64,
        /// Counts applied and rolled back patches: the order in which things happened.
        pub sequence: u64,
        /// Name of the patch.
        pub name: [u8; 64],
        /// Zero.
        pub reserved2: u64,
    }
}

record! {
    /// One function of a patch.
    pub struct FunctionStatus = "lucos_function_status", 128 bytes {
        /// [`STATUS_VERSION`].
        pub version: u32,
        /// A [`SiteState`].
        pub state: u32,
        /// A [`WindowReason`]: why there is a trap and no jump.
        pub reason: u32,
        /// Size of the old function in bytes.
        pub old_size: u32,
        /// Address of the old function.
        pub old_start: u64,
        /// Address of the site.
        pub site: u64,
        /// Address of the new function.
        pub new_entry: u64,
        /// Calls that came by way of the trap.
        pub trap_calls: u64,
        /// Number of bytes from the site that a jump replaces (5 or more), 0 when none can.
        pub window: u32,
        /// Number of the patch under this one at the same site, 0 if it is the first.
        pub below: u32,
        /// Zero.
        pub reserved: u64,
        /// Name of the function.
        pub name: [u8; 64],
    }
}

record! {
    /// One value of a patch.
    pub struct ValueStatus = "lucos_value_status", 136 bytes {
        /// [`STATUS_VERSION`].
        pub version: u32,
        /// A [`ValueState`].
        pub state: u32,
        /// Address of the first byte.
        pub address: u64,
        /// The bytes that a rollback writes, zero where the mask has no bit and behind the end.
        pub old: [u8; 16],
        /// The bytes of the patch, in the same way.
        pub new: [u8; 16],
        /// Which bits are the patch's.
        pub mask: [u8; 16],
        /// Number of bytes.
        pub length: u32,
        /// Number of the patch under this one at the same bytes, 0 if it is the first.
        pub below: u32,
        /// What the bytes are called.
        pub name: [u8; 64],
    }
}

record! {
    /// One data version of a patch.
    pub struct VersionStatus = "lucos_version_status", 136 bytes {
        /// [`STATUS_VERSION`].
        pub version: u32,
        /// A [`VersionState`].
        pub state: u32,
        /// Size of an object in bytes.
        pub object_size: u32,
        /// Size of a twin in bytes.
        pub twin_size: u32,
        /// Number of pairs.
        pub pairs: u32,
        /// Number of pages that are guarded because of them.
        pub guarded_pages: u32,
        /// Pairs of which a write is missing on one side.
        pub torn: u32,
        /// `DATA_*` bits.
        pub flags: u32,
        /// Writes that came to LUCOS.
        pub traps: u64,
        /// Those among them that were carried to the other side.
        pub carried: u64,
        /// Those among them that concerned neither object nor twin.
        pub neighbours: u64,
        /// Zero.
        pub reserved: [u64; 2],
        /// Name of the object or of its type.
        pub name: [u8; 64],
    }
}

record! {
    /// The jumps of a patch.
    pub struct JumpStatus = "lucos_jump_status", 72 bytes {
        /// [`STATUS_VERSION`].
        pub version: u32,
        /// Number of functions of the patch.
        pub functions: u32,
        /// For each function the number of bytes from its site that its jump replaces, 0 when no
        /// jump of the patch stands there.
        pub windows: [u8; 64],
    }
}

const _: () = assert!(MAX_FUNCTIONS == 64);

record! {
    /// VM exits of one processor or of all.
    pub struct ExitCounters = "lucos_exit_counters", 208 bytes {
        /// [`STATUS_VERSION`].
        pub version: u32,
        /// Number of counters that are in use.
        pub count: u32,
        /// TSC at the moment of reading.
        pub tsc: u64,
        /// Exits by [`ExitClass`].
        pub counters: [u64; 24],
    }
}

const _: () = assert!(ExitClass::ALL.len() <= EXIT_COUNTERS);

record! {
    /// The processors that LUCOS has. One that the guest's kernel knows and that is not here was
    /// added while the machine runs: LUCOS never had it.
    pub struct ProcessorList = "lucos_processor_list", 264 bytes {
        /// [`STATUS_VERSION`].
        pub version: u32,
        /// Number of processors.
        pub count: u32,
        /// Their local APIC ids, by vCPU number; zero behind the last one.
        pub apic_ids: [u32; 64],
    }
}

const _: () = assert!(MAX_PROCESSORS == 64);
