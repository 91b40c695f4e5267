// SPDX-License-Identifier: GPL-2.0
/* The patch modules that are loaded. */
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <lucos/patch.h>

#include "arm.h"
#include "descriptor.h"
#include "load.h"
#include "outcome.h"
#include "patches.h"
#include "settle.h"

DEFINE_MUTEX(lucos_patches_lock);
LIST_HEAD(lucos_patches);

struct loaded_patch *lucos_patches_find(const char *name)
{
	struct loaded_patch *loaded;

	list_for_each_entry(loaded, &lucos_patches, link)
		if (!strncmp(loaded->patch->name, name, LUCOS_NAME_SIZE))
			return loaded;
	return NULL;
}

bool lucos_patches_own_site(unsigned long address)
{
	struct loaded_patch *loaded;
	unsigned int i;

	list_for_each_entry(loaded, &lucos_patches, link) {
		if (loaded->state != LOADED_APPLIED)
			continue;
		for (i = 0; i < loaded->count; i++)
			if (loaded->functions[i].site == address)
				return true;
	}
	return false;
}

static void forget(struct loaded_patch *loaded)
{
	unsigned int i;

	for (i = 0; i < loaded->count; i++)
		module_put(loaded->functions[i].owner);
	lucos_load_unpin(loaded);
	kvfree(loaded);
}

/* Loads a patch; gives it, or NULL after filling `failure`. */
static struct loaded_patch *load(struct lucos_patch *patch,
				 struct module *module,
				 struct lucos_failure *failure)
{
	struct loaded_patch *loaded;

	if (!lucos_load_check(patch, module, failure))
		return NULL;
	if (lucos_patches_find(patch->name)) {
		lucos_fail(failure, LUCOS_ERROR_PATCH_NAME_TAKEN, patch->name,
			   0);
		return NULL;
	}
	loaded = kvzalloc(sizeof(*loaded), GFP_KERNEL);
	if (!loaded) {
		lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
		return NULL;
	}
	loaded->patch = patch;
	loaded->module = module;
	loaded->count = lucos_patch_functions(patch);
	if (!lucos_load_pin(loaded, failure) ||
	    !lucos_arm(loaded, patch->check_only, failure)) {
		forget(loaded);
		return NULL;
	}
	return loaded;
}

int lucos_patch_load(struct lucos_patch *patch, struct module *module)
{
	struct lucos_failure failure = {};
	struct loaded_patch *loaded;
	int result = -EINVAL;

	mutex_lock(&lucos_patches_lock);
	loaded = load(patch, module, &failure);
	if (loaded && patch->check_only) {
		/* The module is not wanted: its init fails and it goes. */
		forget(loaded);
		lucos_fail(&failure, LUCOS_ERROR_CHECK_PASSED, patch->name, 0);
		result = -ECANCELED;
	} else if (loaded) {
		/* While its code can run, the module cannot be unloaded. */
		__module_get(module);
		list_add_tail(&loaded->link, &lucos_patches);
		result = 0;
	}
	lucos_outcome_set(module->name, &failure);
	mutex_unlock(&lucos_patches_lock);
	if (!result)
		lucos_settle_soon();
	return result;
}
EXPORT_SYMBOL_GPL(lucos_patch_load);

/* What could not be unloaded because of a patch that has gone may go now. */
static void drain_again(void)
{
	struct loaded_patch *loaded;

	list_for_each_entry(loaded, &lucos_patches, link)
		if (loaded->state == LOADED_UNUSED &&
		    try_module_get(loaded->module))
			loaded->state = LOADED_DRAINING;
}

void lucos_patch_unload(struct lucos_patch *patch)
{
	struct loaded_patch *loaded, *next;

	mutex_lock(&lucos_patches_lock);
	list_for_each_entry_safe(loaded, next, &lucos_patches, link) {
		if (loaded->patch != patch)
			continue;
		list_del(&loaded->link);
		forget(loaded);
	}
	drain_again();
	mutex_unlock(&lucos_patches_lock);
	lucos_settle_soon();
}
EXPORT_SYMBOL_GPL(lucos_patch_unload);

static bool apply_again(const char *name, bool check_only,
			struct lucos_failure *failure)
{
	struct loaded_patch *loaded = lucos_patches_find(name);
	bool armed, pinned = false;

	if (!loaded)
		return lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH, name, 0);
	if (loaded->state == LOADED_APPLIED)
		return lucos_fail(failure, LUCOS_ERROR_ALREADY_APPLIED, name,
				  0);
	if (loaded->state == LOADED_UNUSED) {
		if (!try_module_get(loaded->module))
			return lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH,
					  name, 0);
		pinned = true;
	}
	armed = lucos_arm(loaded, check_only, failure);
	if (pinned && (!armed || check_only))
		module_put(loaded->module);
	return armed;
}

bool lucos_patches_apply(const char *name, bool check_only,
			 struct lucos_failure *failure)
{
	bool applied;

	mutex_lock(&lucos_patches_lock);
	applied = apply_again(name, check_only, failure);
	mutex_unlock(&lucos_patches_lock);
	if (applied)
		lucos_settle_soon();
	return applied;
}
