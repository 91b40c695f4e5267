// SPDX-License-Identifier: GPL-2.0
/* The records in which a patch module says what it is. */
#include <linux/ctype.h>
#include <linux/module.h>
#include <linux/string.h>

#include "hooks.h"
#include "module_text.h"
#include "patch_records.h"
#include "twins.h"
#include "values.h"
#include "versions.h"

/* For tables that were checked. */
#define TABLE_LENGTH(patch, table, type) \
	(((patch)->table##_end - (patch)->table) / sizeof(type))

unsigned int lucos_patch_functions(const struct lucos_patch *patch)
{
	return TABLE_LENGTH(patch, functions, struct lucos_patch_function);
}

const struct lucos_patch_function *
lucos_patch_function(const struct lucos_patch *patch, unsigned int index)
{
	return (const struct lucos_patch_function *)patch->functions + index;
}

unsigned int lucos_patch_expectations(const struct lucos_patch *patch)
{
	return TABLE_LENGTH(patch, expected, struct lucos_patch_expected);
}

unsigned int lucos_patch_dependencies(const struct lucos_patch *patch)
{
	return TABLE_LENGTH(patch, dependencies, struct lucos_dependency);
}

unsigned int lucos_patch_values(const struct lucos_patch *patch)
{
	return TABLE_LENGTH(patch, values, u64);
}

unsigned int lucos_patch_kept(const struct lucos_patch *patch)
{
	return TABLE_LENGTH(patch, kept, struct lucos_patch_kept);
}

unsigned int lucos_patch_twins(const struct lucos_patch *patch)
{
	return TABLE_LENGTH(patch, twins, u64);
}

unsigned int lucos_patch_versions(const struct lucos_patch *patch)
{
	return TABLE_LENGTH(patch, versions, u64);
}

unsigned int lucos_patch_shared(const struct lucos_patch *patch)
{
	return TABLE_LENGTH(patch, shared, u64);
}

void lucos_patch_name_item(const struct lucos_patch *patch, u32 item,
			   char name[LUCOS_NAME_SIZE])
{
	const struct lucos_dependency *dependencies =
		(void *)patch->dependencies;
	u32 dependency = item - LUCOS_DEPENDENCY_ITEMS;
	u32 value = item - LUCOS_VALUE_ITEMS;
	u32 version = item - LUCOS_DATA_ITEMS;

	if (item < lucos_patch_functions(patch))
		strscpy(name, lucos_patch_function(patch, item)->name,
			LUCOS_NAME_SIZE);
	else if (dependency < lucos_patch_dependencies(patch))
		strscpy(name, dependencies[dependency].name, LUCOS_NAME_SIZE);
	else if (value < LUCOS_MAX_VALUES)
		lucos_values_name(patch, value, name);
	else
		lucos_versions_name(patch, version, name);
}

static bool malformed(struct lucos_failure *failure, const char *subject,
		      u64 detail)
{
	return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED, subject,
			  detail);
}

static bool name_is_valid(const char *name)
{
	size_t length = strnlen(name, LUCOS_NAME_SIZE);
	size_t i;

	if (!length || length == LUCOS_NAME_SIZE)
		return false;
	for (i = 0; i < length; i++)
		if (!isascii(name[i]) || !isgraph(name[i]))
			return false;
	return true;
}

/* A table is some whole records, in memory of the module. */
static bool table_is_valid(const struct module *module, u64 start, u64 end,
			   size_t record_size, unsigned int limit)
{
	u64 at;

	if (start > end || (end - start) % record_size ||
	    (end - start) / record_size > limit)
		return false;
	for (at = start; at < end; at += record_size)
		if (!within_module(at, module) ||
		    !within_module(at + record_size - 1, module))
			return false;
	return true;
}

static bool tables_are_valid(const struct lucos_patch *patch,
			     const struct module *module)
{
	return table_is_valid(module, patch->functions, patch->functions_end,
			      sizeof(struct lucos_patch_function),
			      LUCOS_MAX_FUNCTIONS) &&
	       table_is_valid(module, patch->expected, patch->expected_end,
			      sizeof(struct lucos_patch_expected),
			      LUCOS_MAX_FUNCTIONS) &&
	       table_is_valid(module, patch->dependencies,
			      patch->dependencies_end,
			      sizeof(struct lucos_dependency),
			      LUCOS_MAX_DEPENDENCIES) &&
	       table_is_valid(module, patch->values, patch->values_end,
			      sizeof(u64), LUCOS_MAX_VALUES) &&
	       table_is_valid(module, patch->kept, patch->kept_end,
			      sizeof(struct lucos_patch_kept), LUCOS_MAX_KEPT) &&
	       table_is_valid(module, patch->twins, patch->twins_end,
			      sizeof(u64), LUCOS_MAX_TWIN_KINDS) &&
	       table_is_valid(module, patch->versions, patch->versions_end,
			      sizeof(u64), LUCOS_MAX_DATA_VERSIONS) &&
	       table_is_valid(module, patch->shared, patch->shared_end,
			      sizeof(u64), LUCOS_MAX_SHARED_FIELDS);
}

static bool check_function(const struct lucos_patch_function *function,
			   const struct module *module,
			   struct lucos_failure *failure)
{
	if (!name_is_valid(function->name))
		return malformed(failure, "name of a function", 0);
	if (function->flags || function->reserved)
		return malformed(failure, function->name, function->flags);
	if (!lucos_module_has_code(module, function->new_entry))
		return malformed(failure, function->name, function->new_entry);
	return true;
}

bool lucos_patch_check(const struct lucos_patch *patch,
		      const struct module *module,
		      struct lucos_failure *failure)
{
	const struct lucos_patch_function *functions;
	unsigned int i;

	if (patch->version != LUCOS_PATCH_VERSION ||
	    patch->size != sizeof(*patch))
		return malformed(failure, "version", patch->version);
	if (!(patch->flags & LUCOS_PATCH_NO_TAIL_CALLS))
		return malformed(failure, "built with tail calls", patch->flags);
	if (!name_is_valid(patch->name))
		return malformed(failure, "name of the patch", 0);
	if (!tables_are_valid(patch, module))
		return malformed(failure, "tables", 0);
	functions = (void *)patch->functions;
	for (i = 0; i < lucos_patch_functions(patch); i++)
		if (!check_function(&functions[i], module, failure))
			return false;
	return lucos_values_check(patch, module, failure) &&
	       lucos_hooks_check(patch, module, failure) &&
	       lucos_twins_check(patch, module, failure) &&
	       lucos_versions_check(patch, module, failure);
}
