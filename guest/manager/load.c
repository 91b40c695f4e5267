// SPDX-License-Identifier: GPL-2.0
/* What is checked and held when a patch module is loaded. */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/version.h>

#include "descriptor.h"
#include "load.h"
#include "symbols.h"

unsigned long lucos_module_text(const struct module *module)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return (unsigned long)module->mem[MOD_TEXT].base;
#else
	return (unsigned long)module->core_layout.base;
#endif
}

unsigned long lucos_module_text_size(const struct module *module)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return module->mem[MOD_TEXT].size;
#else
	return module->core_layout.text_size;
#endif
}

static unsigned long module_base(const struct module *module)
{
	return lucos_module_text(module);
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
	       table_is_valid(module, patch->data, patch->data_end,
			      sizeof(struct lucos_data_version),
			      LUCOS_MAX_DATA_VERSIONS) &&
	       table_is_valid(module, patch->shared, patch->shared_end,
			      sizeof(struct lucos_shared_field),
			      LUCOS_MAX_SHARED_FIELDS) &&
	       table_is_valid(module, patch->kept, patch->kept_end,
			      sizeof(struct lucos_patch_kept), LUCOS_MAX_KEPT);
}

static bool check_function(const struct lucos_patch_function *function,
			   const struct module *module,
			   struct lucos_failure *failure)
{
	unsigned long text = lucos_module_text(module);

	if (!name_is_valid(function->name))
		return malformed(failure, "name of a function", 0);
	if (function->flags || function->reserved)
		return malformed(failure, function->name, function->flags);
	if (function->new_entry < text ||
	    function->new_entry - text >= lucos_module_text_size(module))
		return malformed(failure, function->name, function->new_entry);
	return true;
}

bool lucos_load_check(const struct lucos_patch *patch,
		      const struct module *module,
		      struct lucos_failure *failure)
{
	const struct lucos_patch_function *functions;
	unsigned int i;

	if (patch->version != LUCOS_PATCH_VERSION ||
	    patch->size != sizeof(*patch))
		return malformed(failure, "version", patch->version);
	if (!name_is_valid(patch->name))
		return malformed(failure, "name of the patch", 0);
	if (!tables_are_valid(patch, module))
		return malformed(failure, "tables", 0);
	functions = (void *)patch->functions;
	for (i = 0; i < lucos_patch_functions(patch); i++)
		if (!check_function(&functions[i], module, failure))
			return false;
	return true;
}

/*
 * Takes a reference on NAME if its text still stands at the address that
 * `lucos` resolved symbols against: a module that was loaded again elsewhere
 * meanwhile has them at other addresses.
 */
static bool pin_one(struct loaded_patch *loaded, char *entry,
		    struct lucos_failure *failure)
{
	char *name = strsep(&entry, "@");
	struct module *module;
	unsigned long base;
	bool taken;

	if (!entry || kstrtoul(entry, 16, &base))
		return malformed(failure, "lucos_modules", 0);
	if (loaded->pin_count == LUCOS_MAX_PINS)
		return malformed(failure, "lucos_modules", loaded->pin_count);
	preempt_disable();
	module = lucos_symbols.find_module(name);
	taken = module && module->state == MODULE_STATE_LIVE &&
		module_base(module) == base && try_module_get(module);
	preempt_enable();
	if (!taken)
		return lucos_fail(failure, LUCOS_ERROR_MODULE_MISSING, name, 0);
	loaded->pins[loaded->pin_count++] = module;
	return true;
}

bool lucos_load_pin(struct loaded_patch *loaded, struct lucos_failure *failure)
{
	const char *names = (const char *)(unsigned long)loaded->patch->modules;
	char *copy, *rest, *entry;
	bool pinned = true;

	if (!names || !*names)
		return true;
	copy = kstrdup(names, GFP_KERNEL);
	if (!copy)
		return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	rest = copy;
	while (pinned && (entry = strsep(&rest, ",")))
		pinned = pin_one(loaded, entry, failure);
	kfree(copy);
	if (!pinned)
		lucos_load_unpin(loaded);
	return pinned;
}

void lucos_load_unpin(struct loaded_patch *loaded)
{
	while (loaded->pin_count)
		module_put(loaded->pins[--loaded->pin_count]);
}
