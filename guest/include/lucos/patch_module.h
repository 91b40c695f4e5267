/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a patch module says about itself, in its .lucos.* sections. See
 * lucos/interface.h.
 */
#ifndef LUCOS_PATCH_MODULE_H
#define LUCOS_PATCH_MODULE_H

#include <linux/types.h>
#include <lucos/reply.h>

#define LUCOS_PATCH_VERSION 4
#define LUCOS_PATCH_NO_TAIL_CALLS 0x1
#define LUCOS_MAX_KEPT 32
#define LUCOS_MAX_TWIN_KINDS 32

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
	__u64 values;
	__u64 values_end;
	__u64 on_apply;
	__u64 on_rollback;
	__u64 modules;
	__u32 check_only;
	__u32 join;
	__u64 kept;
	__u64 kept_end;
	__u32 flags;
	__u32 reserved;
	__u64 twins;
	__u64 twins_end;
	__u64 versions;
	__u64 versions_end;
	__u64 shared;
	__u64 shared_end;
};
_Static_assert(sizeof(struct lucos_patch) == 392, "lucos_patch");

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

/* Some bytes of an object that a patch module changes. */
struct lucos_patch_value {
	__u64 address;
	__u64 old;
	__u64 new;
	__u64 mask;
	__u32 length;
	__u32 flags;
	char name[LUCOS_NAME_SIZE];
};
_Static_assert(sizeof(struct lucos_patch_value) == 104, "lucos_patch_value");

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
