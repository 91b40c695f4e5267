/* SPDX-License-Identifier: GPL-2.0 */
/* Every error of the interface. See lucos/interface.h. */
#ifndef LUCOS_ERRORS_H
#define LUCOS_ERRORS_H

/*
 * Why a hypercall or a command to the update manager failed, as X(NAME, number, "meaning");
 * 160 and above come from the manager. LUCOS_ERROR_NAME
 */
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
	X(DATA_SIZE, 62, "a data object has size zero or more than 4096 bytes") \
	X(DATA_RANGE, 63, "a list or the stage of a data version is not in the kernel's half of the address space, or not aligned") \
	X(DATA_OVERLAP, 64, "a stage overlaps a list or another stage") \
	X(DATA_TRANSFER, 65, "a transfer function is missing or not a kernel address") \
	X(SHARED_FIELD, 66, "a shared field is not inside its object") \
	X(SHARED_OWNER, 67, "a shared field belongs to no or to two data versions") \
	X(DEPENDENCY, 69, "a patch depends on itself or twice on another") \
	X(VALUE_SIZE, 70, "a value has no bytes, more than sixteen, or bytes behind its end") \
	X(VALUE_RANGE, 71, "a value is not in the kernel's half of the address space") \
	X(VALUE_MASK, 72, "a value has bits outside its mask, or its mask does not reach from its first to its last byte") \
	X(VALUE_OVERLAP, 73, "two values overlap") \
	X(DATA_STAGE, 74, "the stage of a data version has no room for its objects") \
	X(DATA_COUNT, 75, "a data version has lists without pairs, pairs without lists, or more than can be counted") \
	X(GROUP, 76, "a group has no or too many descriptors, or they do not fill it") \
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
	X(SETTLED, 117, "the update has settled, the twin is the caller's to fill") \
	X(TOO_MANY_PAGES, 118, "the data lies on more pages than can be guarded") \
	X(PAIRS_ORDER, 119, "a list of pairs does not ascend, or the two lists do not have the same pairs") \
	X(PAIRS_OVERLAP, 120, "two objects or twins overlap") \
	X(DATA_OWNED, 121, "another patch has this data in its old form") \
	X(DATA_IN_USE, 122, "the data of another patch stands on this one's") \
	X(VALUE_CHANGED, 123, "a variable does not hold the value that the patch changes") \
	X(UPCALL_MISSING, 124, "the update manager has registered no upcalls") \
	X(TRANSFER_FAULT, 125, "a transfer function raised an exception") \
	X(TRANSFER_LOOPS, 126, "a transfer function does not end") \
	X(TRANSFER_WRITES, 127, "a transfer function writes to something else than its target") \
	X(TRANSFER_CALLS, 128, "a transfer function makes a hypercall") \
	X(TRANSFER_REFUSED, 129, "a transfer function refused an object") \
	X(TRANSFER_LAW, 130, "the transfer functions of a version are not inverse") \
	X(VALUE_IN_TEXT, 131, "a value lies in code") \
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
	X(NOT_NOINSTR, 178, "the old function is never traced or probed, so the new one must be noinstr (LUCOS_REPLACE_NOINSTR)") \
	X(HOOK_FAILED, 179, "the hook that runs after the update failed, and the update was rolled back") \
	X(TOO_MANY_PATCHES, 180, "so many patches do not go in one step") \
	X(ON_PROBATION, 181, "a patch with data cannot be withdrawn with a patch on probation that it needs")

#define LUCOS_MEMBER(name, number, meaning) LUCOS_ERROR_##name = number,
enum lucos_error { LUCOS_ERRORS(LUCOS_MEMBER) };
#undef LUCOS_MEMBER

#endif
