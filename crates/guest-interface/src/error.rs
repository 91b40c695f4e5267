//! Every error of the interface, each with its own number.
//!
//! 1 to 31: hypercalls in general; 32 to 95: the descriptor is malformed; 96 to 159: LUCOS refuses
//! the update; 160 to 223: the update manager refuses it before it asks LUCOS.

use crate::call::NO_ITEM;

listing! {
    /// Why a hypercall or a command to the update manager failed. Nothing was changed.
    pub enum ErrorCode {
        UnknownCall = 1, "UNKNOWN_CALL", "LUCOS does not know this hypercall";
        InterfaceVersion = 2, "INTERFACE_VERSION", "LUCOS speaks another version of the interface";
        Argument = 3, "ARGUMENT", "an argument is outside its range";
        NotRegistered = 4, "NOT_REGISTERED", "no update manager is registered";
        Nonce = 5, "NONCE", "the nonce is not the one of the registration";
        Busy = 6, "BUSY", "another update is under way";
        Address = 7, "ADDRESS", "a guest address is not mapped as it must be";
        Length = 8, "LENGTH", "a length is outside its range";
        Unsupported = 9, "UNSUPPORTED", "this version of LUCOS cannot do that";
        Internal = 10, "INTERNAL", "LUCOS itself failed";
        Deadline = 11, "DEADLINE", "a processor did not stop in time";
        JournalFull = 12, "JOURNAL_FULL", "LUCOS has no room to remember another update";
        Registration = 13, "REGISTRATION", "the registration record is malformed";
        BuildId = 14, "BUILD_ID", "the patch was built for another kernel";

        DescriptorTruncated = 32, "DESCRIPTOR_TRUNCATED", "the descriptor ends before its header does";
        Magic = 33, "MAGIC", "the descriptor has a wrong magic number";
        DescriptorVersion = 34, "DESCRIPTOR_VERSION", "the descriptor has an unknown version";
        HeaderSize = 35, "HEADER_SIZE", "the descriptor's header has a wrong size";
        TotalLength = 36, "TOTAL_LENGTH", "the descriptor's length is not the one in its header";
        UnknownFlag = 37, "UNKNOWN_FLAG", "an unknown flag is set";
        Reserved = 38, "RESERVED", "a reserved field is not zero";
        NameTerminator = 39, "NAME_TERMINATOR", "a name is too long or not terminated";
        NameEmpty = 40, "NAME_EMPTY", "a name is empty";
        NameCharacter = 41, "NAME_CHARACTER", "a name has a character that is not allowed";
        NameTail = 42, "NAME_TAIL", "there are bytes behind the end of a name";
        BuildIdLength = 43, "BUILD_ID_LENGTH", "the build id is too long or has bytes behind its end";
        SectionCount = 44, "SECTION_COUNT", "a section has too many entries";
        SectionRange = 45, "SECTION_RANGE", "a section is not inside the descriptor";
        SectionAlignment = 46, "SECTION_ALIGNMENT", "a section is not aligned to eight bytes";
        SectionOverlap = 47, "SECTION_OVERLAP", "two sections overlap";
        SectionGap = 48, "SECTION_GAP", "there are bytes that belong to no section";
        NothingToDo = 49, "NOTHING_TO_DO", "the descriptor replaces nothing";
        FunctionSize = 50, "FUNCTION_SIZE", "an old function has size zero";
        FunctionRange = 51, "FUNCTION_RANGE", "an old function is not in the kernel's half of the address space";
        FunctionOverlap = 52, "FUNCTION_OVERLAP", "two old functions overlap";
        SiteOffset = 53, "SITE_OFFSET", "the site is not inside its function";
        SiteOverlap = 54, "SITE_OVERLAP", "two sites overlap";
        NewSize = 55, "NEW_SIZE", "a new function has size zero";
        NewRange = 56, "NEW_RANGE", "a new function is not in the kernel's half of the address space";
        NewIsOld = 57, "NEW_IS_OLD", "a new function lies in an old one";
        ExpectedLength = 58, "EXPECTED_LENGTH", "more bytes are expected than the function or the field has";
        ExpectedMask = 59, "EXPECTED_MASK", "expected bytes are set where the mask is not";
        FlagCombination = 60, "FLAG_COMBINATION", "these flags exclude each other";
        Reason = 61, "REASON", "a reason against the jump is unknown or stands without its flag";
        DataSize = 62, "DATA_SIZE", "a data object has size zero or more than 4096 bytes";
        DataRange = 63, "DATA_RANGE", "a list or the stage of a data version is not in the kernel's half of the address space, or not aligned";
        DataOverlap = 64, "DATA_OVERLAP", "a stage overlaps a list or another stage";
        DataTransfer = 65, "DATA_TRANSFER", "a transfer function is missing or not a kernel address";
        SharedField = 66, "SHARED_FIELD", "a shared field is not inside its object";
        SharedOwner = 67, "SHARED_OWNER", "a shared field belongs to no or to two data versions";
        Dependency = 69, "DEPENDENCY", "a patch depends on itself or twice on another";
        ValueSize = 70, "VALUE_SIZE", "a value has no bytes, more than sixteen, or bytes behind its end";
        ValueRange = 71, "VALUE_RANGE", "a value is not in the kernel's half of the address space";
        ValueMask = 72, "VALUE_MASK", "a value has bits outside its mask, or its mask does not reach from its first to its last byte";
        ValueOverlap = 73, "VALUE_OVERLAP", "two values overlap";
        DataStage = 74, "DATA_STAGE", "the stage of a data version has no room for its objects";
        DataCount = 75, "DATA_COUNT", "a data version has lists without pairs, pairs without lists, or more than can be counted";
        Group = 76, "GROUP", "a group has no or too many descriptors, or they do not fill it";
        RollbackRecord = 77, "ROLLBACK_RECORD", "the rollback record is malformed";

        OldNotText = 96, "OLD_NOT_TEXT", "an old function is not in the text of the kernel or of a module";
        NewNotText = 97, "NEW_NOT_TEXT", "a new function is not in the text of a module";
        ExpectedBytes = 98, "EXPECTED_BYTES", "a function does not have the expected bytes";
        Decode = 99, "DECODE", "a function has an instruction that cannot be decoded";
        SiteBoundary = 100, "SITE_BOUNDARY", "the site is not the start of an instruction";
        BranchToSite = 101, "BRANCH_TO_SITE", "the function branches back to the site";
        SiteForeign = 102, "SITE_FOREIGN", "something else has changed the start of the function";
        SiteOwned = 103, "SITE_OWNED", "another patch changes these bytes";
        AlreadyApplied = 104, "ALREADY_APPLIED", "a patch of this name is applied already";
        UnknownPatch = 105, "UNKNOWN_PATCH", "there is no such patch";
        NotApplied = 106, "NOT_APPLIED", "the patch is not applied";
        UnknownFunction = 107, "UNKNOWN_FUNCTION", "the patch has no such function";
        Stacked = 108, "STACKED", "a later patch stands on this one";
        DependencyMissing = 109, "DEPENDENCY_MISSING", "a patch that this one needs is not applied";
        DependencyInUse = 110, "DEPENDENCY_IN_USE", "another patch needs this one";
        SiteChanged = 111, "SITE_CHANGED", "the bytes at the site are not those that LUCOS wrote";
        NoJump = 112, "NO_JUMP", "the window cannot take a jump";
        WindowOccupied = 113, "WINDOW_OCCUPIED", "a processor stands in the window";
        JumpRange = 114, "JUMP_RANGE", "the new function is too far away for a jump";
        Occupied = 115, "OCCUPIED", "somebody is inside the code that is being left";
        NotSettled = 116, "NOT_SETTLED", "an update on the same data has not settled yet";
        Settled = 117, "SETTLED", "the update has settled, the twin is the caller's to fill";
        TooManyPages = 118, "TOO_MANY_PAGES", "the data lies on more pages than can be guarded";
        PairsOrder = 119, "PAIRS_ORDER", "a list of pairs does not ascend, or the two lists do not have the same pairs";
        PairsOverlap = 120, "PAIRS_OVERLAP", "two objects or twins overlap";
        DataOwned = 121, "DATA_OWNED", "another patch has this data in its old form";
        DataInUse = 122, "DATA_IN_USE", "the data of another patch stands on this one's";
        ValueChanged = 123, "VALUE_CHANGED", "a variable does not hold the value that the patch changes";
        UpcallMissing = 124, "UPCALL_MISSING", "the update manager has registered no upcalls";
        TransferFault = 125, "TRANSFER_FAULT", "a transfer function raised an exception";
        TransferLoops = 126, "TRANSFER_LOOPS", "a transfer function does not end";
        TransferWrites = 127, "TRANSFER_WRITES", "a transfer function writes to something else than its target";
        TransferCalls = 128, "TRANSFER_CALLS", "a transfer function makes a hypercall";
        TransferRefused = 129, "TRANSFER_REFUSED", "a transfer function refused an object";
        TransferLaw = 130, "TRANSFER_LAW", "the transfer functions of a version are not inverse";
        ValueInText = 131, "VALUE_IN_TEXT", "a value lies in code";

        NoHypervisor = 160, "NO_HYPERVISOR", "LUCOS is not underneath";
        UnknownCommand = 161, "UNKNOWN_COMMAND", "the update manager does not know this command";
        NotAFunction = 162, "NOT_A_FUNCTION", "the address is not the start of a function";
        FunctionUnloadable = 163, "FUNCTION_UNLOADABLE", "the function belongs to a module that is not loaded or goes away";
        FtraceRedirected = 164, "FTRACE_REDIRECTED", "the kernel's own livepatch or tracer redirects this function";
        FtraceActive = 165, "FTRACE_ACTIVE", "a tracer is attached to the slot that would be changed";
        KprobeAtSite = 166, "KPROBE_AT_SITE", "a kprobe stands on the first instruction";
        PatchMalformed = 167, "PATCH_MALFORMED", "the patch module's sections are malformed";
        PatchNameTaken = 168, "PATCH_NAME_TAKEN", "a patch of this name is loaded already";
        PatchInUse = 169, "PATCH_IN_USE", "code of the patch is still in use";
        ModuleMissing = 170, "MODULE_MISSING", "a module that the patch needs is not loaded";
        NoMemory = 171, "NO_MEMORY", "the kernel has no memory left";
        NotAtEntry = 172, "NOT_AT_ENTRY", "the function has no place for a redirection";
        SymbolMissing = 173, "SYMBOL_MISSING", "the kernel lacks a symbol that the update manager needs";
        SiteReserved = 174, "SITE_RESERVED", "the kernel itself rewrites the first instruction";
        NotLoadedByLucos = 176, "NOT_LOADED_BY_LUCOS", "the module was not loaded by the lucos command";
        SymbolMismatch = 177, "SYMBOL_MISMATCH", "an address does not belong to the function that was named";
        NotNoinstr = 178, "NOT_NOINSTR", "the old function is never traced or probed, so the new one must be noinstr (LUCOS_REPLACE_NOINSTR)";
        HookFailed = 179, "HOOK_FAILED", "the hook that runs after the update failed, and the update was rolled back";
        TooManyPatches = 180, "TOO_MANY_PATCHES", "so many patches do not go in one step";
        OnProbation = 181, "ON_PROBATION", "a patch with data cannot be withdrawn with a patch on probation that it needs";
    }
}

/// An error with the place it was found at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub code: ErrorCode,
    /// Index of the function at fault; of the value, data version or dependency from
    /// [`VALUE_ITEMS`](crate::call::VALUE_ITEMS), [`DATA_ITEMS`](crate::call::DATA_ITEMS) and
    /// [`DEPENDENCY_ITEMS`](crate::call::DEPENDENCY_ITEMS) on; [`NO_ITEM`] if there is none.
    pub item: u32,
    /// Number of the descriptor at fault in its group, from 0.
    pub member: u32,
    /// A value that says more: the address, offset or number that was found; 0 if there is none.
    pub detail: u64,
}

impl Fault {
    /// A fault that no single entry is to blame for.
    #[must_use]
    pub const fn new(code: ErrorCode, detail: u64) -> Self {
        Self { code, item: NO_ITEM, member: 0, detail }
    }

    /// A fault of one entry.
    #[must_use]
    pub const fn at(code: ErrorCode, item: u32, detail: u64) -> Self {
        Self { code, item, member: 0, detail }
    }

    /// The same fault, of the descriptor with this number in a group.
    #[must_use]
    pub const fn of_member(self, member: u32) -> Self {
        Self { member, ..self }
    }

    /// RCX of a hypercall that failed: the item, and above it the number of the descriptor.
    #[must_use]
    pub const fn place(&self) -> u64 {
        (self.member as u64) << 32 | self.item as u64
    }
}

impl ErrorCode {
    /// The value of RAX that reports this error.
    #[must_use]
    pub const fn register_value(self) -> u64 {
        (-(self.number() as i64)).cast_unsigned()
    }

    /// The error that RAX reports; `None` when RAX reports success or an unknown error.
    #[must_use]
    pub fn from_register(rax: u64) -> Option<Self> {
        let value = rax.cast_signed();
        if value >= 0 {
            return None;
        }
        Self::from_number(u32::try_from(value.unsigned_abs()).ok()?)
    }
}

impl core::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.meaning())
    }
}

impl core::error::Error for ErrorCode {}

impl core::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.code.meaning())?;
        if self.item != NO_ITEM {
            write!(formatter, " (entry {})", self.item)?;
        }
        if self.detail != 0 {
            write!(formatter, " ({:#x})", self.detail)?;
        }
        Ok(())
    }
}

impl core::error::Error for Fault {}

/// A part of LUCOS that can fail. Its number is the detail of [`ErrorCode::Internal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Part {
    /// The kernel.
    Kernel = 1,
    /// The task `memory`.
    Memory = 2,
    /// The task `liveupdate`, or how the parts fit together.
    Liveupdate = 3,
    /// The journal.
    Journal = 4,
}

impl Part {
    /// The error of a hypercall when this part fails, about entry `item`.
    #[must_use]
    pub const fn fault(self, item: u32) -> Fault {
        Fault::at(ErrorCode::Internal, item, self as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorCode, Fault};

    #[test]
    fn numbers_ascend_and_come_back() {
        assert!(ErrorCode::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
            assert_eq!(ErrorCode::from_register(code.register_value()), Some(code));
        }
        assert_eq!(ErrorCode::from_register(0), None);
        assert_eq!(ErrorCode::from_register(5), None);
        assert_eq!(ErrorCode::from_register(u64::MAX - 100_000), None);
        assert_eq!(ErrorCode::from_register(1 << 63), None);
    }

    #[test]
    fn every_error_says_something_of_its_own() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert!(!code.meaning().is_empty());
            for other in &ErrorCode::ALL[..index] {
                assert_ne!(code.meaning(), other.meaning());
                assert_ne!(code.c_name(), other.c_name());
            }
        }
    }

    #[test]
    fn a_fault_is_one_line() {
        let fault = Fault::at(ErrorCode::SiteOffset, 3, 0x20);
        assert_eq!(fault.to_string(), "the site is not inside its function (entry 3) (0x20)");
        assert_eq!(Fault::new(ErrorCode::Busy, 0).to_string(), "another update is under way");
    }
}
