//! What the tasks offer each other: the messages of `memory` and `liveupdate`, and their clients.
//!
//! The kernel carries these messages without reading them, so they are no part of the trusted base.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod client;
#[cfg(feature = "fault-injection")]
pub mod injection;
mod log_budget;
pub mod places;

pub use log_budget::{LogBudget, QUARTER_HOUR};

use lucos_abi::manifest::Object;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_abi::object::{Access, Event, View};
use serde::{Deserialize, Serialize};

/// The task `memory`: its place in the system table.
pub const MEMORY: Object = Object::Task(1);
/// The task `liveupdate`.
pub const LIVEUPDATE: Object = Object::Task(2);

/// Requests to `memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryRequest<'a> {
    /// Guest-physical address of a guest-virtual one.
    Translate {
        /// The address space.
        space: AddressSpace,
        /// The address.
        address: u64,
    },
    /// Bytes at a guest-virtual address; all or none.
    Read {
        /// The address space.
        space: AddressSpace,
        /// The address.
        address: u64,
        /// At most [`lucos_abi::message::PAYLOAD_MAX`].
        length: u32,
    },
    /// Up to `length` bytes of code at a guest-virtual address: fewer when the next page is not
    /// mapped.
    Fetch {
        /// The address space.
        space: AddressSpace,
        /// The address.
        address: u64,
        /// 1 to 15.
        length: u8,
    },
    /// Compares code with what it should be.
    CompareCode {
        /// The address space.
        space: AddressSpace,
        /// [`places`]: where what should be.
        #[serde(with = "serde_bytes")]
        places: &'a [u8],
    },
    /// Writes code, also where the guest itself may not write. Nothing is written unless all of it
    /// can be. Writing the same again is no error: a task that ended in the middle may be asked
    /// again.
    WriteCode {
        /// The address space.
        space: AddressSpace,
        /// [`places`]: what to write where, in this order.
        #[serde(with = "serde_bytes")]
        places: &'a [u8],
    },
    /// Writes bytes at a guest-virtual address; all or none. Refused where the guest itself may
    /// not write.
    Write {
        /// The address space.
        space: AddressSpace,
        /// The address.
        address: u64,
        /// At most [`lucos_abi::message::PAYLOAD_MAX`].
        #[serde(with = "serde_bytes")]
        data: &'a [u8],
    },
    /// Bytes at a guest-physical address; all or none.
    ReadPhysical {
        /// The address.
        gpa: u64,
        /// At most [`lucos_abi::message::PAYLOAD_MAX`].
        length: u32,
    },
    /// Writes bytes at a guest-physical address; all or none.
    WritePhysical {
        /// The address.
        gpa: u64,
        /// At most [`lucos_abi::message::PAYLOAD_MAX`].
        #[serde(with = "serde_bytes")]
        data: &'a [u8],
    },
    /// Copies within guest RAM.
    CopyPhysical {
        /// From.
        from: u64,
        /// To.
        to: u64,
        /// Bytes.
        length: u64,
    },
    /// Makes pages of the guest read-only to it, all of them or none, or ends that. To ask once more
    /// changes nothing.
    Guard {
        /// What is to become of the guest's writes.
        kind: GuardKind,
        /// On or off.
        on: bool,
        /// The guest-physical addresses of the pages: at most [`MAX_GUARD_REQUEST`] words, little
        /// endian, in any order.
        #[serde(with = "serde_bytes")]
        pages: &'a [u8],
    },
    /// Pages with a guard of this kind, ascending: their guest-physical addresses as in
    /// [`MemoryRequest::Guard`], at most [`MAX_GUARD_REQUEST`].
    Guards {
        /// The kind.
        kind: GuardKind,
        /// From this address on.
        from: u64,
    },
    /// Ends all guards but [`GuardKind::Stores`], and whatever is open in the confined view.
    ReleaseAll,
    /// Opens a page in the confined view for the step that writes to it, and copies it first. A page
    /// that is open stays as it is. At most [`MAX_OPEN`] are. A page of a device can only be read, and
    /// is not copied.
    Open {
        /// An address in the page.
        gpa: u64,
        /// The address of a sealed page for the copy.
        copy: u64,
    },
    /// Makes a page table of the guest writable in the confined view, until it is guarded.
    OpenTable {
        /// An address in it.
        gpa: u64,
    },
    /// The bytes of a page that have changed since it was opened: a bit for each, 512 bytes. None when
    /// it is not open.
    Changes {
        /// An address in the page.
        gpa: u64,
    },
    /// Closes all pages that were opened for a write.
    Close,
    /// Writes one side of a pair where it differs from what it is to be. Each aligned word of 8 bytes
    /// is written at once, or what of it is in the range; so are those of 4 and 2 bytes.
    Publish {
        /// The address space.
        space: AddressSpace,
        /// Address of what it is to be.
        from: u64,
        /// Its address.
        to: u64,
        /// Bytes, at most a page.
        length: u32,
    },
    /// Copies one half of every place of a stage to one side of its pair. To ask once more changes
    /// nothing.
    CopyPairs {
        /// The address space.
        space: AddressSpace,
        /// What is copied.
        copy: PairCopy,
    },
    /// Fills a range with zeros.
    Zero {
        /// The address space.
        space: AddressSpace,
        /// The first byte.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// Asks what a nested page fault means, and mends it where it can be mended.
    Fault {
        /// The address.
        gpa: u64,
        /// What the guest did there.
        access: Access,
        /// The view in which it did that.
        view: View,
    },
    /// SHA-256 of all guest RAM, and of which of its pages are guarded for what.
    Hash,
    /// How often the guest wrote to memory that LUCOS hides, or executed there.
    HiddenAccesses,
    /// `memory` ends in the next request: when it has written to the guest's memory so many more
    /// times, or at once. For tests.
    #[cfg(feature = "fault-injection")]
    EndAfterWrites {
        /// How many.
        writes: u32,
    },
}

/// Most pages that can be guarded at once.
pub const MAX_GUARDS: usize = 1024;
/// Most regions of 2 MiB in which they lie: each needs page tables of its own.
pub const MAX_GUARD_REGIONS: usize = 256;
/// Most pages of one request.
pub const MAX_GUARD_REQUEST: usize = PAYLOAD_MAX / 8;
/// Most pages that are open for a write at once.
pub const MAX_OPEN: usize = 4;

/// What becomes of the guest's writes to a page. One page can have several guards, but nothing else
/// when it is provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum GuardKind {
    /// `vmx` does the store ([`FaultVerdict::Guarded`]).
    Stores = 0,
    /// They are made one at a time, under the eyes of `liveupdate` ([`FaultVerdict::Carried`]).
    Carried = 1,
    /// They are refused ([`FaultVerdict::Sealed`]).
    Sealed = 2,
    /// They are refused, but for those of a detour: in the confined view the page can be written.
    Provided = 3,
}

/// The contents of pairs that are copied from a stage. Addresses are guest-virtual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCopy {
    /// The list of pairs: the addresses of an object and its twin for each.
    pub pairs: u64,
    /// How many.
    pub count: u32,
    /// The first place of the stage.
    pub stage: u64,
    /// Bytes from one place to the next.
    pub step: u32,
    /// Bytes from the beginning of a place to what is copied.
    pub offset: u32,
    /// Bytes that are copied of each, at most a page.
    pub size: u32,
    /// To the twins; otherwise to the objects.
    pub to_twins: bool,
}

/// Whose page tables translate an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSpace {
    /// Page-table root (CR3; the low and the high control bits are ignored).
    pub root: u64,
    /// Five levels instead of four.
    pub five_levels: bool,
}

/// What a nested page fault means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultVerdict {
    /// The access will succeed when it is repeated.
    Mended,
    /// A write to (or a fetch from) memory that LUCOS hides.
    Hidden,
    /// A write to a page of which `vmx` does the stores.
    Guarded,
    /// A write to a carried page; in the confined view one to any page that can be opened, or an access
    /// to a device.
    Carried,
    /// A write to a page that the guest must not change now.
    Sealed,
    /// In the confined view: the processor walks a page table that can be opened.
    Table,
    /// No physical address of this machine.
    Outside,
}

/// Replies of `memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryReply<'a> {
    /// Done.
    Done,
    /// A guest-physical address.
    Address {
        /// The address.
        gpa: u64,
    },
    /// Bytes.
    Bytes {
        /// The bytes.
        #[serde(with = "serde_bytes")]
        data: &'a [u8],
    },
    /// What a fault means.
    Fault(FaultVerdict),
    /// SHA-256.
    Hash([u8; 32]),
    /// How often something happened.
    Count(u64),
    /// It cannot be done, and nothing changed.
    Failed(MemoryError),
    /// It cannot be done at one of several places, and nothing changed.
    FailedAt {
        /// Number of the place, from 0.
        place: u32,
        /// Why.
        error: MemoryError,
    },
    /// The code at one of several places is not what it should be.
    Differs {
        /// Number of the first such place, from 0.
        place: u32,
        /// The first byte of it that differs.
        offset: u32,
    },
}

/// Why `memory` cannot do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryError {
    /// The guest's page tables do not map the address.
    NotMapped {
        /// The first such address.
        address: u64,
    },
    /// The address is not canonical, or the range wraps.
    BadAddress,
    /// Not guest RAM.
    NotRam {
        /// The guest-physical address.
        gpa: u64,
    },
    /// The guest may not write there.
    ReadOnly {
        /// The address.
        address: u64,
    },
    /// Too many bytes asked for, or not places of code.
    TooLong,
    /// More pages than can be guarded or open.
    TooManyPages,
    /// A page has a guard that excludes the one that was asked for.
    OtherGuard {
        /// Guest-physical address of the page.
        gpa: u64,
    },
    /// LUCOS's region has no room for the page tables.
    NoRoom,
    /// The kernel did not do what it had to: LUCOS is at fault.
    Kernel,
}

/// Requests to `liveupdate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveupdateRequest {
    /// A hypercall of the guest kernel.
    Hypercall {
        /// The number without its prefix.
        number: u16,
        /// RBX, RCX, RDX, RSI.
        arguments: [u64; 4],
        /// The caller's page-table root.
        space: AddressSpace,
        /// The guest may have made the same call before, without learning what came of it: `vmx`
        /// was restarted.
        again: bool,
    },
    /// The guest wrote to a page with a guard of [`GuardKind::Carried`].
    GuardedWrite {
        /// An address in it.
        gpa: u64,
        /// The address space of the processor.
        space: AddressSpace,
        /// The processor did it by itself, while it delivered an event or walked the guest's page
        /// tables; that comes again.
        implicit: bool,
    },
    /// `vmx` was restarted: what this processor had begun for the guest is done before it runs on.
    Finish,
    /// The guest met an invalid opcode.
    InvalidOpcode {
        /// At this address.
        rip: u64,
        /// In this space.
        space: AddressSpace,
        /// Privilege level.
        cpl: u8,
    },
}

/// Replies of `liveupdate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveupdateReply {
    /// Results of a hypercall: RAX, RBX, RCX, RDX.
    Results([u64; 4]),
    /// Not a hypercall of `liveupdate`.
    NoSuchHypercall,
    /// The guest runs on as it is: the write was done, or comes again.
    RunOn,
    /// The guest gets an exception at the instruction.
    Fault(Event),
    /// The guest goes on there.
    Redirect {
        /// The address.
        rip: u64,
    },
    /// The invalid opcode is the guest's own.
    NotOurs,
}
