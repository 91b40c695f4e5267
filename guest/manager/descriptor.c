// SPDX-License-Identifier: GPL-2.0
/* The descriptors that are handed to LUCOS. */
#include <linux/align.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "candidate.h"
#include "descriptor.h"
#include "patch_records.h"
#include "registry.h"
#include "values.h"
#include "versions.h"

static void append_functions(struct lucos_descriptor_header *header,
			     const struct lucos_candidate *candidates,
			     unsigned int count)
{
	struct lucos_function *functions =
		(void *)header + header->total_length;
	unsigned int i;

	if (!count)
		return;
	for (i = 0; i < count; i++)
		functions[i] = candidates[i].function;
	header->function_count = count;
	header->function_offset = header->total_length;
	header->total_length += count * sizeof(*functions);
}

/* Appends a table and notes where it stands. */
static void append(struct lucos_descriptor_header *header, const void *table,
		   unsigned int count, size_t record_size, u32 *table_count,
		   u32 *table_offset)
{
	if (!count)
		return;
	memcpy((u8 *)header + header->total_length, table, count * record_size);
	*table_count = count;
	*table_offset = header->total_length;
	header->total_length += count * record_size;
}

static void append_values(struct lucos_descriptor_header *header,
			  const struct lucos_patch *patch, unsigned int count)
{
	if (!count)
		return;
	lucos_values_fill(patch, (void *)header + header->total_length);
	header->value_count = count;
	header->value_offset = header->total_length;
	header->total_length += count * sizeof(struct lucos_value);
}

/* Room for what is known only when the authors' locks are held. */
static void append_versions(struct lucos_descriptor_header *header,
			    const struct lucos_patch *patch)
{
	unsigned int versions = lucos_versions_count(patch);
	unsigned int shared = lucos_versions_shared(patch);

	if (versions) {
		header->data_count = versions;
		header->data_offset = header->total_length;
		header->total_length +=
			versions * sizeof(struct lucos_data_version);
	}
	if (shared) {
		header->shared_count = shared;
		header->shared_offset = header->total_length;
		header->total_length +=
			shared * sizeof(struct lucos_shared_field);
	}
}

void lucos_descriptor_add_pairs(struct lucos_descriptor_header *header,
				const struct loaded_patch *loaded)
{
	lucos_versions_describe(loaded, (void *)header + header->data_offset,
				(void *)header + header->shared_offset);
}

static void fill_header(struct lucos_descriptor_header *header,
			const struct lucos_patch *patch, u32 flags)
{
	const u64 magic = LUCOS_MAGIC;

	memcpy(header->magic, &magic, sizeof(magic));
	header->version = LUCOS_DESCRIPTOR_VERSION;
	header->header_size = sizeof(*header);
	header->total_length = sizeof(*header);
	header->flags = flags;
	if (patch->on_apply || patch->on_rollback)
		header->flags |= LUCOS_FLAG_HOOKS;
	memcpy(header->name, patch->name, sizeof(header->name));
	header->build_id_length = patch->build_id_length;
	memcpy(header->build_id, patch->build_id, sizeof(header->build_id));
}

struct lucos_descriptor_header *
lucos_descriptor_build(const struct loaded_patch *loaded,
		       const struct lucos_candidate *candidates, u32 flags,
		       struct lucos_failure *failure)
{
	const struct lucos_patch *patch = loaded->patch;
	unsigned int dependencies = lucos_patch_dependencies(patch);
	unsigned int values = lucos_values_count(patch);
	struct lucos_descriptor_header *header;

	if (values > LUCOS_MAX_VALUES) {
		lucos_fail(failure, LUCOS_ERROR_SECTION_COUNT, patch->name,
			   values);
		return NULL;
	}
	header = kvzalloc(sizeof(*header) +
			  loaded->count * sizeof(struct lucos_function) +
			  values * sizeof(struct lucos_value) +
			  dependencies * sizeof(struct lucos_dependency) +
			  lucos_versions_count(patch) *
				  sizeof(struct lucos_data_version) +
			  lucos_versions_shared(patch) *
				  sizeof(struct lucos_shared_field),
			  GFP_KERNEL);
	if (!header) {
		lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
		return NULL;
	}
	fill_header(header, patch, flags);
	append_functions(header, candidates, loaded->count);
	append_values(header, patch, values);
	append_versions(header, patch);
	append(header, (void *)patch->dependencies, dependencies,
	       sizeof(struct lucos_dependency), &header->dependency_count,
	       &header->dependency_offset);
	return header;
}

void *lucos_descriptor_join(struct lucos_descriptor_header **descriptors,
			    unsigned int count, size_t *length)
{
	const u64 magic = LUCOS_GROUP_MAGIC;
	struct lucos_group *group;
	unsigned int i;
	u8 *at;

	*length = sizeof(*group);
	for (i = 0; i < count; i++)
		*length += ALIGN(descriptors[i]->total_length, sizeof(u64));
	group = kvzalloc(*length, GFP_KERNEL);
	if (!group)
		return NULL;
	memcpy(group->magic, &magic, sizeof(magic));
	group->version = LUCOS_GROUP_VERSION;
	group->count = count;
	group->total_length = *length;
	at = (u8 *)(group + 1);
	for (i = 0; i < count; i++) {
		group->lengths[i] = descriptors[i]->total_length;
		memcpy(at, descriptors[i], descriptors[i]->total_length);
		at += ALIGN(descriptors[i]->total_length, sizeof(u64));
	}
	return group;
}

struct lucos_descriptor_header *lucos_descriptor_member(void *bytes,
							unsigned int count,
							unsigned int index)
{
	const struct lucos_group *group = bytes;
	u8 *at = (u8 *)(group + 1);
	unsigned int i;

	if (count == 1)
		return bytes;
	for (i = 0; i < index; i++)
		at += ALIGN(group->lengths[i], sizeof(u64));
	return (struct lucos_descriptor_header *)at;
}

static const struct lucos_patch_expected *
find_expected(const struct lucos_patch *patch, const char *name)
{
	const struct lucos_patch_expected *expected = (void *)patch->expected;
	unsigned int i;

	for (i = 0; i < lucos_patch_expectations(patch); i++)
		if (!strncmp(expected[i].name, name, LUCOS_NAME_SIZE))
			return &expected[i];
	return NULL;
}

bool lucos_descriptor_expect(const struct lucos_patch *patch,
			     struct lucos_function *function,
			     struct lucos_failure *failure)
{
	const struct lucos_patch_expected *expected;
	u32 available = function->old_size - function->site_offset;
	/* What is expected stands behind the slot, wherever the site is. */
	u32 skipped = function->flags & LUCOS_FUNCTION_SITE_IS_SLOT ?
		      LUCOS_JUMP_SIZE : 0;
	u32 i;

	expected = find_expected(patch, function->name);
	if (!expected)
		return true;
	if (expected->length > LUCOS_EXPECTED_SIZE ||
	    expected->length + skipped > available)
		return lucos_fail(failure, LUCOS_ERROR_EXPECTED_LENGTH,
				  function->name, expected->length);
	function->expected_length = min_t(u32, expected->length + skipped,
					  LUCOS_EXPECTED_SIZE);
	for (i = skipped; i < function->expected_length; i++) {
		u8 mask = expected->mask[i - skipped];

		function->expected_mask[i] = mask;
		function->expected[i] = expected->bytes[i - skipped] & mask;
	}
	return true;
}
