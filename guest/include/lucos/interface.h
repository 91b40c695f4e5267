/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interface between LUCOS and its guest: detection, hypercalls, registration,
 * and with the headers that it includes error codes, the update descriptor, the
 * status records, the update manager's replies and what patch modules say.
 *
 * The same in Rust: crates/guest-interface, where every item is described. A
 * test of that crate compiles these headers and compares all sizes, offsets,
 * numbers and texts. They can be included in the kernel and in userland.
 */
#ifndef LUCOS_INTERFACE_H
#define LUCOS_INTERFACE_H

#include <linux/types.h>

#include <lucos/descriptor.h>
#include <lucos/errors.h>
#include <lucos/patch_module.h>
#include <lucos/reply.h>
#include <lucos/status.h>

#define LUCOS_INTERFACE_VERSION 3

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
#define LUCOS_FEATURE_VALUES 0x8U
#define LUCOS_FEATURE_GROUPS 0x10U

/* Hypercalls: RAX = LUCOS_CALL_BASE | number, arguments in RBX, RCX, RDX, RSI */
#define LUCOS_CALL_BASE 0x4c550000ULL
#define LUCOS_MAX_BUFFER_LENGTH 65536
#define LUCOS_MAX_MEASURED_STOPS 10000
#define LUCOS_ALL_FUNCTIONS 0xffffffffU
#define LUCOS_ALL_PROCESSORS 0xffffffffU

/* The lower half of RCX after an error; functions count from 0 */
#define LUCOS_VALUE_ITEMS 0x10000U
#define LUCOS_DATA_ITEMS 0x20000U
#define LUCOS_DEPENDENCY_ITEMS 0x30000U
#define LUCOS_NO_ITEM 0xffffffffU

/* RDX of ROLLBACK; from bit 32 on the length of the rollback record */
#define LUCOS_ROLLBACK_CLEAR_ONLY 0x1U
#define LUCOS_ROLLBACK_CHECK_ONLY 0x2U

/* RCX of APPLY and ROLLBACK afterwards */
#define LUCOS_RESULT_CLEAR 0x1U

/* RDX of DRAINED */
#define LUCOS_DRAINED_OLD 0
#define LUCOS_DRAINED_NEW 1

/* RBX of DONE; else 0 or an errno. RCX is the first byte that differs */
#define LUCOS_DONE_LAW_BROKEN 4096

#define LUCOS_REGISTRATION_VERSION 2
#define LUCOS_UPCALL_PAGES 6
#define LUCOS_STOPPED_PROCESSORS 28

/*
 * Lists of X(NAME, number, "meaning"). Each makes an enumeration, with the prefix
 * that its comment names.
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
	X(PARK, 9, "wait for the wake-up mailbox") \
	X(DRAINED, 10, "nobody is in the code any more that an update left") \
	X(PAIR, 11, "an object has a twin from now on") \
	X(UNPAIR, 12, "an object has no twin any more") \
	X(WITHDRAW, 13, "take a patch back at once, in any context") \
	X(DONE, 14, "an upcall has ended")

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
	X(PROCESSORS, 5, "a ProcessorList, selector 0") \
	X(VALUE, 6, "a ValueStatus, selector is list position << 32 | value index") \
	X(VERSION, 7, "a VersionStatus, selector is list position << 32 | data version index")

/* Why a patch is withdrawn. LUCOS_CAUSE_NAME */
#define LUCOS_CAUSES(X) \
	X(OOPS, 1, "the kernel had an oops") \
	X(PANIC, 2, "the kernel panicked") \
	X(HANG, 3, "a processor took no timer interrupt any more") \
	X(LOCKUP, 4, "a processor ran no other thread any more") \
	X(TRANSFER, 5, "a transfer function failed")

/* What LUCOS calls the update manager for. LUCOS_UPCALL_NAME */
#define LUCOS_UPCALLS(X) \
	X(TRANSFER_ONE, 1, "one object is carried") \
	X(TRANSFER_ALL, 2, "all objects of a data version are carried") \
	X(WITNESS, 3, "is somebody inside the code that is being left")

#define LUCOS_MEMBER(name, number, meaning) LUCOS_CALL_##name = number,
enum lucos_call { LUCOS_CALLS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_UNREGISTER_##name = number,
enum lucos_unregister_reason { LUCOS_UNREGISTER_REASONS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_QUERY_##name = number,
enum lucos_query_kind { LUCOS_QUERY_KINDS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_CAUSE_##name = number,
enum lucos_cause { LUCOS_CAUSES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_UPCALL_##name = number,
enum lucos_upcall { LUCOS_UPCALLS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER

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
	__u64 upcall_entry;
	__u64 upcall_pages;
	__u32 processors;
	__u32 reserved2;
};
_Static_assert(sizeof(struct lucos_registration) == 112, "lucos_registration");

/* What Pair and Unpair are about. */
struct lucos_pair {
	__u32 number;
	__u32 version;
	__u64 object;
	__u64 twin;
};
_Static_assert(sizeof(struct lucos_pair) == 24, "lucos_pair");

/* The start of the scratch page of a Witness. */
struct lucos_stopped_processors {
	__u32 count;
	__u32 more;
	__u64 reserved;
};
_Static_assert(sizeof(struct lucos_stopped_processors) == 16, "lucos_stopped_processors");

/* Where a processor of the guest stands. */
struct lucos_stopped_processor {
	__u32 apic_id;
	__u32 cpl;
	__u64 rip;
	__u64 rsp;
	__u64 registers[15];
};
_Static_assert(sizeof(struct lucos_stopped_processor) == 144, "lucos_stopped_processor");

#endif
