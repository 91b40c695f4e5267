/* SPDX-License-Identifier: GPL-2.0 */
/* The records that the QUERY hypercall fills. See lucos/interface.h. */
#ifndef LUCOS_STATUS_H
#define LUCOS_STATUS_H

#include <linux/types.h>
#include <lucos/descriptor.h>

#define LUCOS_STATUS_VERSION 1
#define LUCOS_EXIT_COUNTERS 24
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
 * Lists of X(NAME, number, "meaning"). Each makes an enumeration, with the prefix
 * that its comment names.
 */

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

/* What stands at a value. LUCOS_VALUE_NAME */
#define LUCOS_VALUE_STATES(X) \
	X(ORIGINAL, 0, "what was there before, or what the guest made of it since") \
	X(CHANGED, 1, "the bytes of the patch") \
	X(LEFT_ALONE, 2, "what was there before: it was not the default") \
	X(COVERED, 3, "the value of a later patch") \
	X(OVERWRITTEN, 4, "what the guest wrote in place of the patch's bytes")

/* Which side of a data version lives. LUCOS_VERSION_NAME */
#define LUCOS_VERSION_STATES(X) \
	X(OLD, 0, "the objects") \
	X(BOTH, 1, "objects and twins, each write is carried") \
	X(NEW, 2, "the twins")

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

#define LUCOS_MEMBER(name, number, meaning) LUCOS_EXTENSION_##name = number,
enum lucos_extension { LUCOS_EXTENSIONS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_PATCH_##name = number,
enum lucos_patch_state { LUCOS_PATCH_STATES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_SITE_##name = number,
enum lucos_site_state { LUCOS_SITE_STATES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_VALUE_##name = number,
enum lucos_value_state { LUCOS_VALUE_STATES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_VERSION_##name = number,
enum lucos_version_state { LUCOS_VERSION_STATES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_REASON_##name = number,
enum lucos_window_reason { LUCOS_WINDOW_REASONS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_EXIT_##name = number,
enum lucos_exit_class { LUCOS_EXIT_CLASSES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER

/* Records: little endian, naturally aligned, without padding. */

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
	char release[LUCOS_NAME_SIZE];
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
	__u32 values;
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

/* One value of a patch. */
struct lucos_value_status {
	__u32 version;
	__u32 state;
	__u64 address;
	__u8 old[LUCOS_VALUE_SIZE];
	__u8 new[LUCOS_VALUE_SIZE];
	__u8 mask[LUCOS_VALUE_SIZE];
	__u32 length;
	__u32 below;
	char name[LUCOS_NAME_SIZE];
};
_Static_assert(sizeof(struct lucos_value_status) == 136, "lucos_value_status");

/* One data version of a patch. */
struct lucos_version_status {
	__u32 version;
	__u32 state;
	__u32 object_size;
	__u32 twin_size;
	__u32 pairs;
	__u32 guarded_pages;
	__u32 torn;
	__u32 flags;
	__u64 traps;
	__u64 carried;
	__u64 neighbours;
	__u64 reserved[2];
	char name[LUCOS_NAME_SIZE];
};
_Static_assert(sizeof(struct lucos_version_status) == 136, "lucos_version_status");

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

#endif
