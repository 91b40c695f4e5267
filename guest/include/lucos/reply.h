/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the update manager answers to a command that is written to /dev/lucos:
 * a struct lucos_reply and so many records, each behind a struct lucos_record.
 * See lucos/interface.h.
 */
#ifndef LUCOS_REPLY_H
#define LUCOS_REPLY_H

#include <linux/types.h>
#include <lucos/status.h>

#define LUCOS_REPLY_VERSION 1
#define LUCOS_DESCRIPTION_SIZE 128

/*
 * Lists of X(NAME, number, "meaning"). Each makes an enumeration, with the prefix
 * that its comment names.
 */

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
	X(OUTSIDE, 13, "a processor that the kernel knows and LUCOS does not have: an OutsideProcessor") \
	X(VALUE, 14, "what LUCOS knows of a value of the patch before it: a ValueStatus") \
	X(EVENT, 15, "something that became of a patch: an Event") \
	X(TWINS, 16, "how many twins of a kind the patch before it has: a TwinCount") \
	X(INSIDE, 17, "who stands in the way of the function or patch before it: an Inside") \
	X(PROBATION, 18, "the patch before it is on probation: a Probation") \
	X(VERSION, 19, "what LUCOS knows of a data version of the patch before it: a VersionStatus")

/* What is true of a patch whose module is loaded. LUCOS_LOADED_NAME */
#define LUCOS_LOADED_STATES(X) \
	X(APPLIED, 1, "the new functions are in force") \
	X(DRAINING, 2, "rolled back, its code may be in use") \
	X(UNUSED, 3, "rolled back, nobody is in its code") \
	X(KEPT, 4, "rolled back, the kernel may use its memory") \
	X(LOADED, 5, "loaded, not yet in force") \
	X(SETTLING, 6, "in force, old code may still run and its data is guarded")

/* How the load of a patch module ended. LUCOS_VERDICT_NAME */
#define LUCOS_VERDICTS(X) \
	X(NONE, 0, "the manager saw no load of this module") \
	X(APPLIED, 1, "the patch is in force") \
	X(CHECKED, 2, "nothing is wrong with the patch, and nothing was applied") \
	X(REFUSED, 3, "the patch was refused") \
	X(LOADED, 4, "the patch is loaded, to be applied in one step with others")

/* What became of a patch. LUCOS_EVENT_NAME */
#define LUCOS_EVENT_KINDS(X) \
	X(APPLIED, 1, "it came into force") \
	X(ROLLED_BACK, 2, "it was taken out of force") \
	X(REFUSED, 3, "it was to come into force and did not") \
	X(NOT_ROLLED_BACK, 4, "it was to be taken out of force and was not") \
	X(WITHDRAWN, 5, "LUCOS took it out of force")

#define LUCOS_MEMBER(name, number, meaning) LUCOS_RECORD_##name = number,
enum lucos_record_kind { LUCOS_RECORD_KINDS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_LOADED_##name = number,
enum lucos_loaded_state { LUCOS_LOADED_STATES(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_VERDICT_##name = number,
enum lucos_verdict { LUCOS_VERDICTS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER
#define LUCOS_MEMBER(name, number, meaning) LUCOS_EVENT_##name = number,
enum lucos_event_kind { LUCOS_EVENT_KINDS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER

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

/* How many twins of a kind a patch has. */
struct lucos_twin_count {
	__u64 count;
	char name[LUCOS_NAME_SIZE];
};
_Static_assert(sizeof(struct lucos_twin_count) == 72, "lucos_twin_count");

/*
 * Who stands in the way: of a jump, in its window; of the end of a patch that
 * was rolled back, in its module.
 */
struct lucos_inside {
	__u32 thread;
	__u32 reserved;
	__u64 seconds;
	char name[LUCOS_NAME_SIZE];
	char place[LUCOS_DESCRIPTION_SIZE];
};
_Static_assert(sizeof(struct lucos_inside) == 208, "lucos_inside");

/* A patch is taken back by itself when the kernel gets into trouble. */
struct lucos_probation {
	__u32 seconds;
	__u32 reserved;
};
_Static_assert(sizeof(struct lucos_probation) == 8, "lucos_probation");

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

/* Something that became of a patch. */
struct lucos_event {
	__u64 time;
	__u32 kind;
	__u32 code;
	__u64 detail;
	__u32 number;
	__u32 process;
	__u32 user;
	__u32 reserved;
	char name[LUCOS_NAME_SIZE];
	char subject[LUCOS_NAME_SIZE];
	char program[16];
};
_Static_assert(sizeof(struct lucos_event) == 184, "lucos_event");

#endif
