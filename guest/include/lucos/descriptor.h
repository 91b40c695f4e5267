/* SPDX-License-Identifier: GPL-2.0 */
/* How an update is described to LUCOS. See lucos/interface.h. */
#ifndef LUCOS_DESCRIPTOR_H
#define LUCOS_DESCRIPTOR_H

#include <linux/types.h>

#define LUCOS_NAME_SIZE 64
#define LUCOS_BUILD_ID_SIZE 20
#define LUCOS_MAGIC 0x445055534f43554cULL /* "LUCOSUPD" */
#define LUCOS_DESCRIPTOR_VERSION 2
#define LUCOS_MAX_DESCRIPTOR_LENGTH 65536
#define LUCOS_MAX_FUNCTIONS 64
#define LUCOS_MAX_VALUES 64
#define LUCOS_MAX_DATA_VERSIONS 32
#define LUCOS_MAX_SHARED_FIELDS 256
#define LUCOS_MAX_DEPENDENCIES 16
#define LUCOS_EXPECTED_SIZE 16
#define LUCOS_JUMP_SIZE 5
#define LUCOS_VALUE_SIZE 16
#define LUCOS_MAX_INSTANCE_SIZE 4096
#define LUCOS_MAX_GUARDED_PAGES 1024

/* lucos_descriptor_header.flags */
#define LUCOS_FLAG_CHECK_ONLY 0x1U
#define LUCOS_FLAG_CLEAR_ONLY 0x2U
#define LUCOS_FLAG_HOOKS 0x4U

/* lucos_function.flags */
#define LUCOS_FUNCTION_FENTRY_SLOT 0x1U
#define LUCOS_FUNCTION_SITE_IS_SLOT 0x2U
#define LUCOS_FUNCTION_NO_JUMP 0x4U

/* lucos_value.flags */
#define LUCOS_VALUE_IF_DEFAULT 0x1U

/* lucos_data_version.flags */
#define LUCOS_DATA_FLAG_LOSSY 0x1U
#define LUCOS_DATA_FLAG_CLEAR_ONLY 0x2U
#define LUCOS_DATA_FLAG_PER_CPU 0x4U

/* Groups */
#define LUCOS_GROUP_MAGIC 0x505247534f43554cULL /* "LUCOSGRP" */
#define LUCOS_GROUP_VERSION 1
#define LUCOS_MAX_GROUP 8
#define LUCOS_MAX_GROUP_LENGTH 262144

/* Rollback records */
#define LUCOS_ROLLBACK_VERSION 1

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
	__u32 value_count;
	__u32 value_offset;
	__u32 data_count;
	__u32 data_offset;
	__u32 shared_count;
	__u32 shared_offset;
	__u32 dependency_count;
	__u32 dependency_offset;
	__u64 reserved[3];
};
_Static_assert(sizeof(struct lucos_descriptor_header) == 176, "lucos_descriptor_header");

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

/* Some bytes of an object that the patch changes. */
struct lucos_value {
	__u64 address;
	__u8 old[LUCOS_VALUE_SIZE];
	__u8 new[LUCOS_VALUE_SIZE];
	__u8 mask[LUCOS_VALUE_SIZE];
	__u32 length;
	__u32 flags;
	char name[LUCOS_NAME_SIZE];
	__u64 reserved;
};
_Static_assert(sizeof(struct lucos_value) == 136, "lucos_value");

/* The lists and the stage are memory of the update manager. */
struct lucos_data_version {
	__u64 pairs_by_object;
	__u32 pair_count;
	__u32 flags;
	__u64 pairs_by_twin;
	__u64 pages;
	__u32 page_count;
	__u32 stage_step;
	__u64 stage;
	__u32 object_size;
	__u32 twin_size;
	__u64 to_new;
	__u64 to_old;
	__u32 shared_first;
	__u32 shared_count;
	char name[LUCOS_NAME_SIZE];
};
_Static_assert(sizeof(struct lucos_data_version) == 144, "lucos_data_version");

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

/* The start of a group. */
struct lucos_group {
	__u8 magic[8];
	__u32 version;
	__u32 count;
	__u32 total_length;
	__u32 reserved;
	__u32 lengths[LUCOS_MAX_GROUP];
};
_Static_assert(sizeof(struct lucos_group) == 56, "lucos_group");

/* The start of a rollback record. */
struct lucos_rollback {
	__u32 version;
	__u32 total_length;
	__u32 count;
	__u32 data_count;
	__u32 patches[LUCOS_MAX_GROUP];
};
_Static_assert(sizeof(struct lucos_rollback) == 48, "lucos_rollback");

/* The memory for one data version, as in DataVersionRecord. */
struct lucos_rollback_version {
	__u64 pairs_by_object;
	__u32 pair_count;
	__u32 flags;
	__u64 pairs_by_twin;
	__u64 pages;
	__u32 page_count;
	__u32 stage_step;
	__u64 stage;
};
_Static_assert(sizeof(struct lucos_rollback_version) == 48, "lucos_rollback_version");

#endif
