//! Everything that can go wrong, each in one line.

use std::fmt;
use std::path::PathBuf;

use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::reply::ReplyFault;
use serde_json::{Value, json};

use crate::kallsyms::Candidate;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Error {
    /// A file cannot be read.
    Read(PathBuf, std::io::Error),
    /// A file cannot be written.
    Write(PathBuf, std::io::Error),
    /// The file is no ELF file.
    NotElf(PathBuf),
    /// The file is an ELF file, but not a module for this machine.
    NotModule(PathBuf),
    /// The file ends too early.
    Truncated(PathBuf),
    /// The file contradicts itself; what it says is wrong.
    Malformed(PathBuf, String),
    /// The module is not a patch.
    NotPatch(PathBuf),
    /// The module was made with another version of the patch header.
    PatchVersion(PathBuf, u32),
    /// The module's code ends in calls of functions elsewhere: the function and what it jumps to, as
    /// far as one is known.
    TailCalls(PathBuf, Option<(String, String)>),
    /// The module was built for another kernel: its version, and the running one.
    KernelVersion(PathBuf, String, String),
    /// The kernel has no such symbol.
    UnknownSymbol(String),
    /// The object that should have the symbol is not loaded.
    ObjectNotLoaded(String, String),
    /// The kernel has fewer symbols of this name than the number that was asked for.
    NoSuchOccurrence(String, usize, Vec<Candidate>),
    /// Several symbols have this name.
    Ambiguous(String, Vec<Candidate>),
    /// `/proc/kallsyms` shows no addresses.
    AddressesHidden,
    /// A line of a file of the kernel is not understood.
    KernelFile(&'static str, String),
    /// The command needs root.
    NotRoot,
    /// The kernel is locked down, to this degree.
    Lockdown(String),
    /// LUCOS is not underneath.
    NotUnderneath,
    /// The update manager is not loaded, and LUCOS is underneath as far as can be seen.
    ManagerNotLoaded,
    /// `/dev/lucos` does not work.
    Device(std::io::Error),
    /// The update manager's reply is not understood.
    Reply(ReplyFault),
    /// The update manager or LUCOS refuses.
    Refused(Refusal),
    /// A module of this name is loaded and is no patch, or one of another build.
    ModuleLoaded(String),
    /// A patch of this name and of another build is rolled back, and its module stays loaded.
    Kept(String),
    /// Another build of a module is loaded than the one that a patch was made for.
    OtherModuleBuild(String),
    /// A loaded module has no such section, or the kernel does not show it: module and section.
    UnknownSection(String, String),
    /// The kernel does not load the module.
    Load(String, std::io::Error),
    /// The kernel loads no modules at all.
    LoadForbidden,
    /// The module of this patch does not know that it was loaded to be checked: it was applied.
    Unchecked(String),
    /// A name that cannot be that of a file.
    UnfitName(String),
    /// The patch is to be enabled, and this build of it is not in force.
    NotSeenInForce(String),
    /// The patch is to be enabled by its name, and its file is not known.
    NoFile(String),
    /// The patch is not enabled.
    NotEnabled(String),
}

/// A refusal of the update manager or of LUCOS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub code: ErrorCode,
    /// The patch, function or module at fault; may be empty.
    pub subject: String,
    /// An address or number in hexadecimal; may be empty.
    pub detail: String,
}

impl Error {
    /// A short name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read(..) => "READ",
            Self::Write(..) => "WRITE",
            Self::NotElf(_) => "NOT_ELF",
            Self::NotModule(_) => "NOT_MODULE",
            Self::Truncated(_) => "TRUNCATED",
            Self::Malformed(..) => "MALFORMED",
            Self::NotPatch(_) => "NOT_PATCH",
            Self::PatchVersion(..) => "PATCH_VERSION",
            Self::TailCalls(..) => "TAIL_CALLS",
            Self::KernelVersion(..) => "KERNEL_VERSION",
            Self::UnknownSymbol(_) => "UNKNOWN_SYMBOL",
            Self::ObjectNotLoaded(..) => "OBJECT_NOT_LOADED",
            Self::NoSuchOccurrence(..) => "NO_SUCH_OCCURRENCE",
            Self::Ambiguous(..) => "AMBIGUOUS",
            Self::AddressesHidden => "ADDRESSES_HIDDEN",
            Self::KernelFile(..) => "KERNEL_FILE",
            Self::NotRoot => "NOT_ROOT",
            Self::Lockdown(_) => "LOCKDOWN",
            Self::NotUnderneath => "NOT_UNDERNEATH",
            Self::ManagerNotLoaded => "MANAGER_NOT_LOADED",
            Self::Device(_) => "DEVICE",
            Self::Reply(_) => "REPLY",
            Self::Refused(refusal) => refusal.code.c_name(),
            Self::ModuleLoaded(_) => "MODULE_LOADED",
            Self::Kept(_) => "KEPT",
            Self::OtherModuleBuild(_) => "OTHER_MODULE_BUILD",
            Self::UnknownSection(..) => "UNKNOWN_SECTION",
            Self::Load(..) => "LOAD",
            Self::LoadForbidden => "LOAD_FORBIDDEN",
            Self::Unchecked(_) => "UNCHECKED",
            Self::UnfitName(_) => "UNFIT_NAME",
            Self::NotSeenInForce(_) => "NOT_SEEN_IN_FORCE",
            Self::NoFile(_) => "NO_FILE",
            Self::NotEnabled(_) => "NOT_ENABLED",
        }
    }

    /// The error as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = json!({ "code": self.code(), "message": self.to_string() });
        if let Self::Ambiguous(_, candidates) | Self::NoSuchOccurrence(_, _, candidates) = self {
            object["candidates"] = candidates.iter().map(Candidate::to_json).collect();
        }
        json!({ "error": object })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) | Self::Write(path, error) => {
                write!(formatter, "{}: {error}", path.display())
            }
            Self::NotElf(path) => write!(formatter, "{}: not an ELF file", path.display()),
            Self::NotModule(path) => {
                write!(formatter, "{}: not a kernel module for x86-64", path.display())
            }
            Self::Truncated(path) => write!(formatter, "{}: the file is truncated", path.display()),
            Self::Malformed(path, what) => write!(formatter, "{}: {what}", path.display()),
            Self::NotPatch(path) => write!(
                formatter,
                "{}: a kernel module, but no patch (it has no .lucos.patch section)",
                path.display()
            ),
            Self::PatchVersion(path, version) => write!(
                formatter,
                "{}: made with version {version} of the patch header, not {}",
                path.display(),
                lucos_guest_interface::patch_module::PATCH_VERSION
            ),
            Self::TailCalls(path, known) => {
                write!(formatter, "{}: built with tail calls", path.display())?;
                if let Some((function, target)) = known {
                    write!(formatter, " ({function} ends in one of {target})")?;
                }
                formatter.write_str(
                    ", so its code could be unloaded under what it has called; its Kbuild needs \
                     ccflags-y += -fno-optimize-sibling-calls -DLUCOS_NO_TAIL_CALLS",
                )
            }
            Self::KernelVersion(path, built, running) => write!(
                formatter,
                "{}: built for kernel {built}, but {running} is running",
                path.display()
            ),
            Self::UnknownSymbol(name) => write!(formatter, "this kernel has no symbol {name}"),
            Self::ObjectNotLoaded(name, object) => {
                write!(formatter, "{name} belongs to the module {object}, which is not loaded")
            }
            Self::NoSuchOccurrence(name, nth, candidates) => {
                write!(formatter, "there is no symbol number {nth} of the name {name}")?;
                write_candidates(formatter, candidates)
            }
            Self::Ambiguous(name, candidates) => {
                write!(formatter, "{name} is ambiguous")?;
                write_candidates(formatter, candidates)?;
                write!(
                    formatter,
                    "; choose with LUCOS_REPLACE_SELECTED(object, number, \"{name}\", ...) or \
                     LUCOS_SYMBOL(object, number, \"{name}\")"
                )
            }
            Self::AddressesHidden => write!(
                formatter,
                "/proc/kallsyms shows no addresses: the kernel hides them (kernel.kptr_restrict)"
            ),
            Self::KernelFile(file, line) => {
                write!(formatter, "{file} has a line that is not understood: {line:?}")
            }
            Self::NotRoot => write!(formatter, "this needs root"),
            Self::Lockdown(degree) => write!(
                formatter,
                "the kernel is locked down ({degree}): it loads no module that is not signed"
            ),
            Self::NotUnderneath => write!(
                formatter,
                "LUCOS is not underneath: this kernel runs on the bare machine or on another \
                 hypervisor"
            ),
            Self::ManagerNotLoaded => {
                write!(formatter, "the update manager is not loaded (modprobe lucos)")
            }
            Self::Device(error) => write!(formatter, "/dev/lucos: {error}"),
            Self::Reply(what) => {
                write!(formatter, "the update manager's reply is not understood: {what}")
            }
            Self::Refused(refusal) => refusal.fmt(formatter),
            Self::ModuleLoaded(name) => {
                write!(formatter, "another module of the name {name} is loaded")
            }
            Self::Kept(name) => write!(
                formatter,
                "another build of {name} is rolled back, and stays loaded until a reboot because \
                 the kernel may still use what it was given (lucos show {name}): give this one \
                 another name"
            ),
            Self::OtherModuleBuild(module) => write!(
                formatter,
                "the module {module} that is loaded is another build than the one that the patch \
                 was made for"
            ),
            Self::UnknownSection(module, section) => write!(
                formatter,
                "the kernel does not show where the section {section} of the module {module} is"
            ),
            Self::Load(name, error) => {
                write!(formatter, "the kernel does not load {name}: {error} (see dmesg)")
            }
            Self::LoadForbidden => write!(
                formatter,
                "the kernel loads no modules: it is locked down, or kernel.modules_disabled is set"
            ),
            Self::Unchecked(name) => {
                write!(formatter, "{name} was applied: its module takes no lucos_check")
            }
            Self::UnfitName(name) => write!(formatter, "{name:?} cannot be the name of a file"),
            Self::NotSeenInForce(name) => write!(
                formatter,
                "{name}: this build of it is not in force (--now applies it, --untested enables it \
                 all the same)"
            ),
            Self::NoFile(name) => write!(
                formatter,
                "{name} was not applied since the boot, so its file is not known: give the file"
            ),
            Self::NotEnabled(name) => write!(formatter, "{name} is not enabled"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.subject.is_empty() {
            write!(formatter, "{}: ", self.subject)?;
        }
        formatter.write_str(self.code.meaning())?;
        if !self.detail.is_empty() {
            write!(formatter, " ({})", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<ReplyFault> for Error {
    fn from(fault: ReplyFault) -> Self {
        Self::Reply(fault)
    }
}

fn write_candidates(formatter: &mut fmt::Formatter<'_>, candidates: &[Candidate]) -> fmt::Result {
    for (index, candidate) in candidates.iter().enumerate() {
        let separator = if index == 0 { ": " } else { ", " };
        write!(formatter, "{separator}{candidate}")?;
    }
    Ok(())
}
