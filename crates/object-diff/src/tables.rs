//! The kernel's tables about code: one entry for a place in a function.

use crate::input::SpecialSizes;
use crate::object_file::Section;

/// How a table is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    /// Bytes of an entry; `None`: an entry starts at each relocation.
    pub(crate) entry_size: Option<u64>,
    /// What it says belongs to what the function does.
    pub(crate) is_compared: bool,
    pub(crate) carry: Carry,
}

/// What becomes of the entries of a function that is cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carry {
    /// They go along.
    Yes,
    /// They do not: optional, made anew for each module, or of no use to one.
    No,
    /// They mark a value that the kernel writes into its own code during boot, but not into
    /// modules.
    BootConstant,
    /// Together with the section `.orc_unwind`, which runs in parallel.
    Orc,
}

pub(crate) const ORC_IP: &str = ".orc_unwind_ip";
pub(crate) const ORC: &str = ".orc_unwind";
pub(crate) const ALTERNATIVES: &str = ".altinstructions";
/// Numbers of types, which the last step of the kernel's build fills in.
pub(crate) const TYPE_NUMBERS: &str = ".BTF_ids";
pub(crate) const BUGS: &str = "__bug_table";
pub(crate) const JUMP_LABELS: &str = "__jump_table";
/// How the names of the sections begin that are notes for the kernel's object checker.
pub(crate) const NOTES: &str = ".discard.";
/// Functions that must not be probed.
const PROBE_FENCE: &str = "_kprobe_blacklist";
pub(crate) const BOOT_POINTER: &str = "runtime_ptr_";
pub(crate) const BOOT_SHIFT: &str = "runtime_shift_";

/// How the names of lists of initcalls begin.
const INITCALLS: [&str; 2] = [".initcall", ".con_initcall"];

/// The table that a section is, if it is one.
pub(crate) fn table(section: &Section<'_>, sizes: &SpecialSizes) -> Option<Table> {
    let compared = |size| Table { entry_size: Some(size), is_compared: true, carry: Carry::Yes };
    let derived = |size| Table { entry_size: Some(size), is_compared: false, carry: Carry::Yes };
    let dropped = |size| Table { entry_size: size, is_compared: false, carry: Carry::No };
    let table = match section.name {
        ALTERNATIVES => compared(sizes.alt_instr),
        BUGS => compared(sizes.bug_entry),
        "__ex_table" => compared(sizes.exception_entry),
        JUMP_LABELS => compared(sizes.jump_entry),
        ".parainstructions" => compared(sizes.paravirt_site),
        ".static_call_sites" => compared(sizes.static_call_site),
        ".retpoline_sites" | ".return_sites" | ".call_sites" => derived(4),
        "__mcount_loc" | PROBE_FENCE => derived(8),
        ORC_IP => Table { carry: Carry::Orc, ..derived(4) },
        ORC | ".orc_header" => dropped(None),
        ".smp_locks" | ".ibt_endbr_seal" | ".cfi_sites" => dropped(Some(4)),
        "__patchable_function_entries" => dropped(Some(8)),
        ".discard.addressable" => dropped(None),
        name if name.starts_with(BOOT_POINTER) || name.starts_with(BOOT_SHIFT) => {
            Table { entry_size: Some(4), is_compared: true, carry: Carry::BootConstant }
        }
        name if name.starts_with(NOTES) => {
            Table { entry_size: None, is_compared: false, carry: Carry::Yes }
        }
        _ => return None,
    };
    Some(table)
}

/// Lists of functions that the kernel calls once.
pub(crate) fn is_initcalls(name: &str) -> bool {
    INITCALLS.iter().any(|family| name.starts_with(family))
}

/// Sections that the kernel reads during boot or when a module is loaded, and never again, and those
/// that it leaves out.
pub(crate) fn is_read_once(name: &str) -> bool {
    let exact = [
        ".modinfo",
        "__ksymtab_strings",
        ".init.setup",
        "_error_injection_whitelist",
        ".printk_index",
        ".export_symbol",
    ];
    let families = [
        "___ksymtab",
        "__ksymtab",
        "___kcrctab",
        "__kcrctab",
        ".exitcall.exit",
        ".note",
        ".comment",
        ".debug",
        ".gnu.",
        ".llvm",
        ".eh_frame",
    ];
    exact.contains(&name)
        || is_initcalls(name)
        || families.iter().any(|family| name.starts_with(family))
}

/// Code or data that is freed after boot.
pub(crate) fn is_boot_only(name: &str) -> bool {
    name.starts_with(".init.") || name.starts_with(".meminit.") || name.starts_with(".head.text")
}

/// Code of module exit functions, which the kernel image has no use for.
pub(crate) fn is_exit_only(name: &str) -> bool {
    name.starts_with(".exit.") || name.starts_with(".memexit.")
}
