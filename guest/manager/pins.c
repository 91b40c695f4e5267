// SPDX-License-Identifier: GPL-2.0
/* The modules whose symbols a patch uses. */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "module_text.h"
#include "pins.h"
#include "registry.h"
#include "symbols.h"

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
		return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
				  "lucos_modules", 0);
	if (loaded->pin_count == LUCOS_MAX_PINS)
		return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
				  "lucos_modules", loaded->pin_count);
	preempt_disable();
	module = lucos_symbols.find_module(name);
	taken = module && module->state == MODULE_STATE_LIVE &&
		lucos_module_text(module) == base && try_module_get(module);
	preempt_enable();
	if (!taken)
		return lucos_fail(failure, LUCOS_ERROR_MODULE_MISSING, name, 0);
	loaded->pins[loaded->pin_count++] = module;
	return true;
}

bool lucos_pin(struct loaded_patch *loaded, struct lucos_failure *failure)
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
		lucos_unpin(loaded);
	return pinned;
}

void lucos_unpin(struct loaded_patch *loaded)
{
	while (loaded->pin_count)
		module_put(loaded->pins[--loaded->pin_count]);
}
