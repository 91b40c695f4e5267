/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interface between LUCOS and its guest: detection, hypercalls, error codes,
 * the update descriptor, the status records and the update manager's replies.
 *
 * The same in Rust: crates/guest-interface, where every item is described. A
 * test of that crate compiles this header and compares all sizes, offsets,
 * numbers and texts. It can be included in the kernel and in userland.
 */
#ifndef LUCOS_INTERFACE_H
#define LUCOS_INTERFACE_H

#include <linux/types.h>

#define LUCOS_INTERFACE_VERSION 2

/*
 * The model-specific register by which LUCOS is found. Its upper half is the
 * signature; the lower one holds the interface version in 16 bits, and above
 * them the features. Without LUCOS reading it is an error, or gives something
 * else.
 */
#define LUCOS_REGISTER 0x4000004cU
#define LUCOS_SIGNATURE 0x4f43554cU /* "LUCO" */
#define LUCOS_FEATURES_SHIFT 16

/* LUCOS_REGISTER and RCX of HELLO */
#define LUCOS_FEATURE_VMMCALL 0x1U
#define LUCOS_FEATURE_FUNCTIONS 0x2U
#define LUCOS_FEATURE_DATA_VERSIONS 0x4U
#define LUCOS_FEATURE_HOOKS 0x8U

/* Hypercalls: RAX = LUCOS_CALL_BASE | number, arguments in RBX, RCX, RDX, RSI */
#define LUCOS_CALL_BASE 0x4c550000ULL
#define LUCOS_MAX_DESCRIPTOR_LENGTH 65536
#define LUCOS_MAX_BUFFER_LENGTH 65536
#define LUCOS_MAX_MEASURED_STOPS 10000
#define LUCOS_ALL_FUNCTIONS 0xffffffffU
#define LUCOS_ALL_PROCESSORS 0xffffffffU
#define LUCOS_NO_ITEM 0xffffffffU

/* Sizes and limits */
#define LUCOS_NAME_SIZE 64
#define LUCOS_BUILD_ID_SIZE 20
#define LUCOS_REGISTRATION_VERSION 1
#define LUCOS_MAGIC 0x445055534f43554cULL /* "LUCOSUPD" */
#define LUCOS_DESCRIPTOR_VERSION 1
#define LUCOS_MAX_FUNCTIONS 64
#define LUCOS_MAX_DATA_VERSIONS 32
#define LUCOS_MAX_SHARED_FIELDS 256
#define LUCOS_MAX_DEPENDENCIES 16
#define LUCOS_EXPECTED_SIZE 16
#define LUCOS_JUMP_SIZE 5
#define LUCOS_PATCH_VERSION 2
#define LUCOS_DESCRIPTION_SIZE 128
#define LUCOS_MAX_KEPT 32
#define LUCOS_REPLY_VERSION 1
#define LUCOS_STATUS_VERSION 1
#define LUCOS_EXIT_COUNTERS 24

/* lucos_descriptor_header.flags */
#define LUCOS_FLAG_CHECK_ONLY 0x1U

/* lucos_function.flags */
#define LUCOS_FUNCTION_FENTRY_SLOT 0x1U
#define LUCOS_FUNCTION_SITE_IS_SLOT 0x2U
#define LUCOS_FUNCTION_NO_JUMP 0x4U

#define LUCOS_MAX_PROCESSORS 64

/* lucos_system_status.containment */
#define LUCOS_CONTAINS_INIT 0x1U
#define LUCOS_CONTAINS_DMA 0x2U

/* lucos_system_status.assists */
#define LUCOS_ASSIST_NEXT_RIP 0x1U
#define LUCOS_ASSIST_FLUSH_BY_ASID 0x2U
#define LUCOS_ASSIST_DECODE 0x4U
#define LUCOS_ASSIST_CLEAN_BITS 0x8U
#define LUCOS_ASSIST_VIRTUAL_NMI 0x10U
#define LUCOS_ASSIST_PAUSE_FILTER 0x20U

/*
 * Lists of X(NAME, number, "meaning"). Each makes an enumeration below, with
 * the prefix that its comment names.
 */

/* The hypercalls. LUCOS_CALL_NAME */
#define LUCOS_CALLS(X) \
	X(HELLO, 0, "agree on the interface version") \
	X(REGISTER, 1, "tell LUCOS about the guest kernel") \
	X(UNREGISTER, 2, "the update manager or the kernel goes away") \
	X(APPLY, 3, "check an update and put it in force") \
	X(JUMP, 4, "turn a trap into a jump") \
	X(ROLLBACK, 5, "take an update back") \
	X(QUERY, 6, "read a status record") \
	X(LOG, 7, "read the log of LUCOS") \
	X(MEASURE_STOP, 8, "stop and resume all processors") \
	X(PARK, 9, "wait for the wake-up mailbox")

/* Why a registration ends. LUCOS_UNREGISTER_NAME */
#define LUCOS_UNREGISTER_REASONS(X) \
	X(MANAGER_UNLOAD, 0, "the manager is unloaded, the journal stays") \
	X(KERNEL_DOWN, 1, "the kernel goes down, LUCOS forgets it")

/* What the QUERY hypercall reads. LUCOS_QUERY_NAME */
#define LUCOS_QUERY_KINDS(X) \
	X(SYSTEM, 0, "a SystemStatus, selector 0") \
	X(PATCH, 1, "a PatchStatus, selector is the position in the list") \
	X(FUNCTION, 2, "a FunctionStatus, selector is list position << 32 | function index") \
	X(EXIT_COUNTERS, 3, "an ExitCounters, selector is a vCPU number or ALL_PROCESSORS") \
	X(JUMPS, 4, "a JumpStatus, selector is a patch number") \
	X(PROCESSORS, 5, "a ProcessorList, selector 0")

/* Why a hypercall or a command to the update manager failed; 160 and above come from the manager. LUCOS_ERROR_NAME */
#define LUCOS_ERRORS(X) \
	X(UNKNOWN_CALL, 1, "LUCOS does not know this hypercall") \
	X(INTERFACE_VERSION, 2, "LUCOS speaks another version of the interface") \
	X(ARGUMENT, 3, "an argument is outside its range") \
	X(NOT_REGISTERED, 4, "no update manager is registered") \
	X(NONCE, 5, "the nonce is not the one of the registration") \
	X(BUSY, 6, "another update is under way") \
	X(ADDRESS, 7, "a guest address is not mapped as it must be") \
	X(LENGTH, 8, "a length is outside its range") \
	X(UNSUPPORTED, 9, "this version of LUCOS cannot do that") \
	X(INTERNAL, 10, "LUCOS itself failed") \
	X(DEADLINE, 11, "a processor did not stop in time") \
	X(JOURNAL_FULL, 12, "LUCOS has no room to remember another update") \
	X(REGISTRATION, 13, "the registration record is malformed") \
	X(BUILD_ID, 14, "the patch was built for another kernel") \
	X(DESCRIPTOR_TRUNCATED, 32, "the descriptor ends before its header does") \
	X(MAGIC, 33, "the descriptor has a wrong magic number") \
	X(DESCRIPTOR_VERSION, 34, "the descriptor has an unknown version") \
	X(HEADER_SIZE, 35, "the descriptor's header has a wrong size") \
	X(TOTAL_LENGTH, 36, "the descriptor's length is not the one in its header") \
	X(UNKNOWN_FLAG, 37, "an unknown flag is set") \
	X(RESERVED, 38, "a reserved field is not zero") \
	X(NAME_TERMINATOR, 39, "a name is too long or not terminated") \
	X(NAME_EMPTY, 40, "a name is empty") \
	X(NAME_CHARACTER, 41, "a name has a character that is not allowed") \
	X(NAME_TAIL, 42, "there are bytes behind the end of a name") \
	X(BUILD_ID_LENGTH, 43, "the build id is too long or has bytes behind its end") \
	X(SECTION_COUNT, 44, "a section has too many entries") \
	X(SECTION_RANGE, 45, "a section is not inside the descriptor") \
	X(SECTION_ALIGNMENT, 46, "a section is not aligned to eight bytes") \
	X(SECTION_OVERLAP, 47, "two sections overlap") \
	X(SECTION_GAP, 48, "there are bytes that belong to no section") \
	X(NOTHING_TO_DO, 49, "the descriptor replaces nothing") \
	X(FUNCTION_SIZE, 50, "an old function has size zero") \
	X(FUNCTION_RANGE, 51, "an old function is not in the kernel's half of the address space") \
	X(FUNCTION_OVERLAP, 52, "two old functions overlap") \
	X(SITE_OFFSET, 53, "the site is not inside its function") \
	X(SITE_OVERLAP, 54, "two sites overlap") \
	X(NEW_SIZE, 55, "a new function has size zero") \
	X(NEW_RANGE, 56, "a new function is not in the kernel's half of the address space") \
	X(NEW_IS_OLD, 57, "a new function lies in an old one") \
	X(EXPECTED_LENGTH, 58, "more bytes are expected than the function or the field has") \
	X(EXPECTED_MASK, 59, "expected bytes are set where the mask is not") \
	X(FLAG_COMBINATION, 60, "these flags exclude each other") \
	X(REASON, 61, "a reason against the jump is unknown or stands without its flag") \
	X(DATA_SIZE, 62, "a data object has size zero") \
	X(DATA_RANGE, 63, "a data object is not in the kernel's half of the address space") \
	X(DATA_OVERLAP, 64, "two data objects overlap") \
	X(DATA_TRANSFER, 65, "a transfer or iterator function is missing or not a kernel address") \
	X(SHARED_FIELD, 66, "a shared field is not inside its object") \
	X(SHARED_OWNER, 67, "a shared field belongs to no or to two data versions") \
	X(HOOK, 68, "a hook is not a kernel address") \
	X(DEPENDENCY, 69, "a patch depends on itself or twice on another") \
	X(ROLLBACK_RECORD, 77, "the rollback record is malformed") \
	X(OLD_NOT_TEXT, 96, "an old function is not in the text of the kernel or of a module") \
	X(NEW_NOT_TEXT, 97, "a new function is not in the text of a module") \
	X(EXPECTED_BYTES, 98, "a function does not have the expected bytes") \
	X(DECODE, 99, "a function has an instruction that cannot be decoded") \
	X(SITE_BOUNDARY, 100, "the site is not the start of an instruction") \
	X(BRANCH_TO_SITE, 101, "the function branches back to the site") \
	X(SITE_FOREIGN, 102, "something else has changed the start of the function") \
	X(SITE_OWNED, 103, "another patch changes these bytes") \
	X(ALREADY_APPLIED, 104, "a patch of this name is applied already") \
	X(UNKNOWN_PATCH, 105, "there is no such patch") \
	X(NOT_APPLIED, 106, "the patch is not applied") \
	X(UNKNOWN_FUNCTION, 107, "the patch has no such function") \
	X(STACKED, 108, "a later patch stands on this one") \
	X(DEPENDENCY_MISSING, 109, "a patch that this one needs is not applied") \
	X(DEPENDENCY_IN_USE, 110, "another patch needs this one") \
	X(SITE_CHANGED, 111, "the bytes at the site are not those that LUCOS wrote") \
	X(NO_JUMP, 112, "the window cannot take a jump") \
	X(WINDOW_OCCUPIED, 113, "a processor stands in the window") \
	X(JUMP_RANGE, 114, "the new function is too far away for a jump") \
	X(OCCUPIED, 115, "somebody is inside the code that is being left") \
	X(NOT_SETTLED, 116, "an update on the same data has not settled yet") \
	X(NO_HYPERVISOR, 160, "LUCOS is not underneath") \
	X(UNKNOWN_COMMAND, 161, "the update manager does not know this command") \
	X(NOT_A_FUNCTION, 162, "the address is not the start of a function") \
	X(FUNCTION_UNLOADABLE, 163, "the function belongs to a module that is not loaded or goes away") \
	X(FTRACE_REDIRECTED, 164, "the kernel's own livepatch or tracer redirects this function") \
	X(FTRACE_ACTIVE, 165, "a tracer is attached to the slot that would be changed") \
	X(KPROBE_AT_SITE, 166, "a kprobe stands on the first instruction") \
	X(PATCH_MALFORMED, 167, "the patch module's sections are malformed") \
	X(PATCH_NAME_TAKEN, 168, "a patch of this name is loaded already") \
	X(PATCH_IN_USE, 169, "code of the patch is still in use") \
	X(MODULE_MISSING, 170, "a module that the patch needs is not loaded") \
	X(NO_MEMORY, 171, "the kernel has no memory left") \
	X(NOT_AT_ENTRY, 172, "the function has no place for a redirection") \
	X(SYMBOL_MISSING, 173, "the kernel lacks a symbol that the update manager needs") \
	X(SITE_RESERVED, 174, "the kernel itself rewrites the first instruction") \
	X(NOT_LOADED_BY_LUCOS, 176, "the module was not loaded by the lucos command") \
	X(SYMBOL_MISMATCH, 177, "an address does not belong to the function that was named") \
	X(NOT_NOINSTR, 178, "the old function is never traced or probed, so the new one must be noinstr (LUCOS_REPLACE_NOINSTR)")

/* The virtualization extension in use. LUCOS_EXTENSION_NAME */
#define LUCOS_EXTENSIONS(X) \
	X(SVM, 1, "AMD-V") \
	X(VMX, 2, "Intel VT-x")

/* What is true of a patch. LUCOS_PATCH_NAME */
#define LUCOS_PATCH_STATES(X) \
	X(APPLIED, 1, "the new functions are in force") \
	X(ROLLED_BACK, 2, "the old functions are in force again")

/* What stands at the site of a function. LUCOS_SITE_NAME */
#define LUCOS_SITE_STATES(X) \
	X(ORIGINAL, 0, "the original bytes") \
	X(TRAP, 1, "a one-byte trap") \
	X(JUMP, 2, "a jump") \
	X(COVERED, 3, "the redirection of a later patch") \
	X(OVERRIDDEN, 4, "bytes that LUCOS did not write")

/* Why a window keeps its trap instead of a jump. LUCOS_REASON_NAME */
#define LUCOS_WINDOW_REASONS(X) \
	X(NONE, 0, "nothing speaks against the jump") \
	X(JUMP_LABEL, 1, "a jump label lies in the window") \
	X(STATIC_CALL, 2, "a static call lies in the window") \
	X(ALTERNATIVE, 3, "an alternative or a LOCK prefix lies in the window") \
	X(EXCEPTION_TABLE, 4, "an instruction in the window has an exception-table entry") \
	X(BUG, 5, "a BUG or WARN lies in the window") \
	X(KPROBE, 6, "a kprobe lies in the window") \
	X(FTRACE_SLOT, 7, "an ftrace slot lies in the window") \
	X(BRANCH, 8, "the function branches into the window") \
	X(TOO_SHORT, 9, "the function is too short for a jump") \
	X(UNKNOWN, 10, "the kernel's tables cannot be read") \
	X(INDIRECT_JUMP, 11, "the function jumps to addresses that are not known")

/* Classes of VM exits. LUCOS_EXIT_NAME */
#define LUCOS_EXIT_CLASSES(X) \
	X(CPUID, 0, "CPUID") \
	X(HYPERCALL, 1, "hypercalls") \
	X(MSR_READ, 2, "reads of MSRs") \
	X(MSR_WRITE, 3, "writes of MSRs") \
	X(VIRTUALIZATION, 4, "virtualization instructions") \
	X(NMI, 5, "NMIs, kicks included") \
	X(NESTED_PAGE_FAULT, 6, "accesses to protected or hidden pages") \
	X(REDIRECTION, 7, "calls of replaced functions by way of a trap") \
	X(INVALID_OPCODE, 8, "#UD handed back to the guest") \
	X(DEBUG, 9, "single steps") \
	X(INIT, 10, "INIT signals") \
	X(SHUTDOWN, 11, "triple faults") \
	X(CONTROL_REGISTER, 12, "writes of control registers") \
	X(XSETBV, 13, "XSETBV") \
	X(HALT, 14, "processors that wait for their start") \
	X(IRET, 15, "ends of NMI handlers") \
	X(OTHER, 16, "everything else")

/* What a record of a reply is. LUCOS_RECORD_NAME */
#define LUCOS_RECORD_KINDS(X) \
	X(FAILURE, 1, "why the command failed, or the load before it: a Failure") \
	X(MANAGER, 2, "a ManagerStatus") \
	X(SYSTEM, 3, "a SystemStatus") \
	X(EXITS, 4, "an ExitCounters, of all processors") \
	X(LOADED, 5, "a LoadedPatch") \
	X(PATCH, 6, "what LUCOS knows of the patch before it: a PatchStatus") \
	X(KEPT, 7, "what the kernel may keep of the patch before it: a PatchKept") \
	X(FUNCTION, 8, "a LoadedFunction of the patch before it") \
	X(SITE, 9, "what LUCOS knows of the function before it: a FunctionStatus") \
	X(LOG, 10, "a LogPiece, and behind it the text, filled up with zeros to eight bytes") \
	X(STOPS, 11, "a MeasuredStops") \
	X(OUTCOME, 12, "a LoadOutcome") \
	X(OUTSIDE, 13, "a processor that the kernel knows and LUCOS does not have: an OutsideProcessor")

/* What is true of a patch whose module is loaded. LUCOS_LOADED_NAME */
#define LUCOS_LOADED_STATES(X) \
	X(APPLIED, 1, "the new functions are in force") \
	X(DRAINING, 2, "rolled back, its code may be in use") \
	X(UNUSED, 3, "rolled back, nobody is in its code") \
	X(KEPT, 4, "rolled back, the kernel may use its memory")

/* How the load of a patch module ended. LUCOS_VERDICT_NAME */
#define LUCOS_VERDICTS(X) \
	X(NONE, 0, "the manager saw no load of this module") \
	X(APPLIED, 1, "the patch is in force") \
	X(CHECKED, 2, "nothing is wrong with the patch, and nothing was applied") \
	X(REFUSED, 3, "the patch was refused")

#define LUCOS_MEMBER(name, number, meaning) LUCOS_CALL_##name = number,
enum lucos_call { LUCOS_CALLS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_UNREGISTER_##name = number,
enum lucos_unregister_reason { LUCOS_UNREGISTER_REASONS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_QUERY_##name = number,
enum lucos_query_kind { LUCOS_QUERY_KINDS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_ERROR_##name = number,
enum lucos_error { LUCOS_ERRORS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_EXTENSION_##name = number,
enum lucos_extension { LUCOS_EXTENSIONS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_PATCH_##name = number,
enum lucos_patch_state { LUCOS_PATCH_STATES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_SITE_##name = number,
enum lucos_site_state { LUCOS_SITE_STATES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_REASON_##name = number,
enum lucos_window_reason { LUCOS_WINDOW_REASONS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_EXIT_##name = number,
enum lucos_exit_class { LUCOS_EXIT_CLASSES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_RECORD_##name = number,
enum lucos_record_kind { LUCOS_RECORD_KINDS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_LOADED_##name = number,
enum lucos_loaded_state { LUCOS_LOADED_STATES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_VERDICT_##name = number,
enum lucos_verdict { LUCOS_VERDICTS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER

/*
 * Records: little endian, naturally aligned, without padding.
 */

/* The guest kernel, as its update manager describes it. */
struct lucos_registration {
	__u32 version;
	__u32 size;
	__u32 flags;
	__u32 build_id_length;
	__u8 build_id[LUCOS_BUILD_ID_SIZE];
	__u32 reserved;
	__u64 text_start;
	__u64 text_end;
	__u64 modules_start;
	__u64 modules_end;
	__u8 boot_identity[16];
};
_Static_assert(sizeof(struct lucos_registration) == 88, "lucos_registration");

/* The start of a descriptor. */
struct lucos_descriptor_header {
	__u8 magic[8];
	__u32 version;
	__u32 header_size;
	__u32 total_length;
	__u32 flags;
	char name[LUCOS_NAME_SIZE];
	__u32 build_id_length;
	__u8 build_id[LUCOS_BUILD_ID_SIZE];
	__u32 function_count;
	__u32 function_offset;
	__u32 data_count;
	__u32 data_offset;
	__u32 shared_count;
	__u32 shared_offset;
	__u32 dependency_count;
	__u32 dependency_offset;
	__u64 pre_apply;
	__u64 post_apply;
	__u64 pre_rollback;
	__u64 post_rollback;
	__u64 reserved[4];
};
_Static_assert(sizeof(struct lucos_descriptor_header) == 208, "lucos_descriptor_header");

/* One function to replace. */
struct lucos_function {
	__u64 old_start;
	__u64 new_entry;
	__u32 old_size;
	__u32 site_offset;
	__u32 new_size;
	__u32 flags;
	__u32 reason;
	__u32 expected_length;
	__u8 expected[LUCOS_EXPECTED_SIZE];
	__u8 expected_mask[LUCOS_EXPECTED_SIZE];
	char name[LUCOS_NAME_SIZE];
	__u64 reserved;
};
_Static_assert(sizeof(struct lucos_function) == 144, "lucos_function");

/* A data object of which a new version is made. */
struct lucos_data_version {
	__u64 old_object;
	__u64 new_object;
	__u64 old_size;
	__u64 new_size;
	__u64 to_new;
	__u64 to_old;
	__u64 instances;
	__u32 shared_first;
	__u32 shared_count;
	__u32 flags;
	__u32 reserved;
	char name[LUCOS_NAME_SIZE];
	__u64 reserved2[2];
};
_Static_assert(sizeof(struct lucos_data_version) == 152, "lucos_data_version");

/* A field that both versions of an object share, such as a lock or a list head. */
struct lucos_shared_field {
	__u32 old_offset;
	__u32 new_offset;
	__u32 size;
	__u32 reserved;
};
_Static_assert(sizeof(struct lucos_shared_field) == 16, "lucos_shared_field");

/* A patch that must be applied before this one. */
struct lucos_dependency {
	char name[LUCOS_NAME_SIZE];
	__u64 reserved;
};
_Static_assert(sizeof(struct lucos_dependency) == 72, "lucos_dependency");

/* The state of LUCOS. */
struct lucos_system_status {
	__u32 version;
	__u32 extension;
	__u32 assists;
	__u32 containment;
	__u32 vcpus;
	__u32 registered;
	__u32 patches;
	__u32 applied;
	__u32 trapping;
	__u32 jumping;
	__u32 patch_capacity;
	__u32 restarts;
	__u64 region_start;
	__u64 region_size;
	__u64 stops;
	__u64 longest_stop;
	__u64 hidden_writes;
	__u64 log_start;
	__u64 log_end;
	__u8 boot_identity[16];
	char release[64];
	__u64 messages;
	__u64 last_stop;
	__u64 reserved2;
};
_Static_assert(sizeof(struct lucos_system_status) == 208, "lucos_system_status");

/* One patch. */
struct lucos_patch_status {
	__u32 version;
	__u32 number;
	__u32 state;
	__u32 functions;
	__u32 trapping;
	__u32 jumping;
	__u32 data_versions;
	__u32 reserved;
	__u64 apply_stop;
	__u64 jump_stop;
	__u64 rollback_stop;
	__u64 sequence;
	char name[LUCOS_NAME_SIZE];
	__u64 reserved2;
};
_Static_assert(sizeof(struct lucos_patch_status) == 136, "lucos_patch_status");

/* One function of a patch. */
struct lucos_function_status {
	__u32 version;
	__u32 state;
	__u32 reason;
	__u32 old_size;
	__u64 old_start;
	__u64 site;
	__u64 new_entry;
	__u64 trap_calls;
	__u32 window;
	__u32 below;
	__u64 reserved;
	char name[LUCOS_NAME_SIZE];
};
_Static_assert(sizeof(struct lucos_function_status) == 128, "lucos_function_status");

/* The jumps of a patch. */
struct lucos_jump_status {
	__u32 version;
	__u32 functions;
	__u8 windows[LUCOS_MAX_FUNCTIONS];
};
_Static_assert(sizeof(struct lucos_jump_status) == 72, "lucos_jump_status");

/* VM exits of one processor or of all. */
struct lucos_exit_counters {
	__u32 version;
	__u32 count;
	__u64 tsc;
	__u64 counters[LUCOS_EXIT_COUNTERS];
};
_Static_assert(sizeof(struct lucos_exit_counters) == 208, "lucos_exit_counters");

/*
 * The processors that LUCOS has. One that the guest's kernel knows and that is
 * not here was added while the machine runs: LUCOS never had it.
 */
struct lucos_processor_list {
	__u32 version;
	__u32 count;
	__u32 apic_ids[LUCOS_MAX_PROCESSORS];
};
_Static_assert(sizeof(struct lucos_processor_list) == 264, "lucos_processor_list");

/*
 * What the update manager answers to a command that is written to /dev/lucos:
 * a struct lucos_reply and so many records, each behind a struct lucos_record.
 */

/* The start of a reply. */
struct lucos_reply {
	__u32 version;
	__u32 records;
	__u64 length;
};
_Static_assert(sizeof(struct lucos_reply) == 16, "lucos_reply");

/* The start of a record in a reply. */
struct lucos_record {
	__u32 kind;
	__u32 size;
};
_Static_assert(sizeof(struct lucos_record) == 8, "lucos_record");

/* Why something failed. */
struct lucos_failure {
	__u32 code;
	__u32 reserved;
	__u64 detail;
	char subject[LUCOS_NAME_SIZE];
};
_Static_assert(sizeof(struct lucos_failure) == 80, "lucos_failure");

/* The state of the manager. */
struct lucos_manager_status {
	__u32 interface;
	__u32 overridden;
};
_Static_assert(sizeof(struct lucos_manager_status) == 8, "lucos_manager_status");

/* A processor that the kernel knows and LUCOS does not have. */
struct lucos_outside_processor {
	__u32 number;
	__u32 reserved;
};
_Static_assert(sizeof(struct lucos_outside_processor) == 8, "lucos_outside_processor");

/* A patch whose module is loaded. */
struct lucos_loaded_patch {
	__u32 state;
	__u32 number;
	__u32 functions;
	__u32 overridden;
	char name[LUCOS_NAME_SIZE];
	char module[LUCOS_NAME_SIZE];
	char description[LUCOS_DESCRIPTION_SIZE];
};
_Static_assert(sizeof(struct lucos_loaded_patch) == 272, "lucos_loaded_patch");

/* A function of a loaded patch. */
struct lucos_loaded_function {
	__u32 at_slot;
	__u32 overridden;
	char module[LUCOS_NAME_SIZE];
};
_Static_assert(sizeof(struct lucos_loaded_function) == 72, "lucos_loaded_function");

/* A piece of the log. */
struct lucos_log_piece {
	__u64 offset;
	__u64 length;
};
_Static_assert(sizeof(struct lucos_log_piece) == 16, "lucos_log_piece");

/* Stops that were made to be measured. */
struct lucos_measured_stops {
	__u64 stops;
	__u64 longest;
};
_Static_assert(sizeof(struct lucos_measured_stops) == 16, "lucos_measured_stops");

/* How the last load of a patch module ended. */
struct lucos_load_outcome {
	__u32 verdict;
	__u32 reserved;
};
_Static_assert(sizeof(struct lucos_load_outcome) == 8, "lucos_load_outcome");

/*
 * What a patch module says about itself, in its .lucos.* sections.
 */

/* A patch module. */
struct lucos_patch {
	__u32 version;
	__u32 size;
	char name[LUCOS_NAME_SIZE];
	char description[LUCOS_DESCRIPTION_SIZE];
	__u32 build_id_length;
	__u8 build_id[LUCOS_BUILD_ID_SIZE];
	__u64 functions;
	__u64 functions_end;
	__u64 expected;
	__u64 expected_end;
	__u64 dependencies;
	__u64 dependencies_end;
	__u64 data;
	__u64 data_end;
	__u64 hooks[4];
	__u64 modules;
	__u32 check_only;
	__u32 reserved;
	__u64 shared;
	__u64 shared_end;
	__u64 kept;
	__u64 kept_end;
};
_Static_assert(sizeof(struct lucos_patch) == 368, "lucos_patch");

/* A function that a patch module replaces. */
struct lucos_patch_function {
	__u64 old_start;
	__u64 new_entry;
	__u32 flags;
	__u32 nth;
	char name[LUCOS_NAME_SIZE];
	char object[LUCOS_NAME_SIZE];
	__u64 reserved;
};
_Static_assert(sizeof(struct lucos_patch_function) == 160, "lucos_patch_function");

/* The bytes that an old function must have at its site. */
struct lucos_patch_expected {
	char name[LUCOS_NAME_SIZE];
	__u32 length;
	__u32 reserved;
	__u8 bytes[LUCOS_EXPECTED_SIZE];
	__u8 mask[LUCOS_EXPECTED_SIZE];
};
_Static_assert(sizeof(struct lucos_patch_expected) == 104, "lucos_patch_expected");

/* Something of a patch module that the kernel may go on using after a rollback. */
struct lucos_patch_kept {
	char what[LUCOS_NAME_SIZE];
	char how[LUCOS_DESCRIPTION_SIZE];
};
_Static_assert(sizeof(struct lucos_patch_kept) == 192, "lucos_patch_kept");

#endif
