// SPDX-License-Identifier: GPL-2.0
/* How a patch module comes and goes, and how one that is loaded is applied. */
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <lucos/patch.h>

#include "apply.h"
#include "load.h"
#include "outcome.h"
#include "patch_records.h"
#include "pins.h"
#include "registry.h"
#include "settle.h"

static void forget(struct loaded_patch *loaded)
{
	unsigned int i;

	for (i = 0; i < loaded->count; i++)
		module_put(loaded->functions[i].owner);
	lucos_unpin(loaded);
	kvfree(loaded);
}

/* Checks or applies a patch; gives it, or NULL after filling `failure`. */
static struct loaded_patch *load(struct lucos_patch *patch,
				 struct module *module,
				 struct lucos_failure *failure)
{
	struct loaded_patch *loaded;

	if (!lucos_patch_check(patch, module, failure))
		return NULL;
	if (lucos_registry_find(patch->name)) {
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
	if (!lucos_pin(loaded, failure) ||
	    !lucos_apply(loaded, patch->check_only, failure)) {
		forget(loaded);
		return NULL;
	}
	return loaded;
}

int lucos_patch_load(struct lucos_patch *patch, struct module *module)
{
	struct lucos_failure failure = {};
	enum lucos_verdict verdict;
	struct loaded_patch *loaded;
	int result;

	lucos_registry_lock();
	loaded = load(patch, module, &failure);
	if (!loaded) {
		verdict = LUCOS_VERDICT_REFUSED;
		result = -EINVAL;
	} else if (patch->check_only) {
		/* The module is not wanted: its init fails and it goes. */
		forget(loaded);
		verdict = LUCOS_VERDICT_CHECKED;
		result = -ECANCELED;
	} else {
		/* While its code can run, the module cannot be unloaded. */
		__module_get(module);
		list_add_tail(&loaded->link, &lucos_registry);
		verdict = LUCOS_VERDICT_APPLIED;
		result = 0;
	}
	lucos_outcome_set(module->name, verdict, &failure);
	lucos_registry_unlock();
	return result;
}
EXPORT_SYMBOL_GPL(lucos_patch_load);

/* What could not be unloaded because of a patch that has gone may go now. */
static void drain_again(void)
{
	struct loaded_patch *loaded;

	list_for_each_entry(loaded, &lucos_registry, link)
		if (loaded->state == LUCOS_LOADED_UNUSED &&
		    try_module_get(loaded->module))
			loaded->state = LUCOS_LOADED_DRAINING;
	lucos_settle_soon();
}

void lucos_patch_unload(struct lucos_patch *patch)
{
	struct loaded_patch *loaded;

	lucos_registry_lock();
	loaded = lucos_registry_find_patch(patch);
	if (loaded) {
		list_del(&loaded->link);
		forget(loaded);
		drain_again();
	}
	lucos_registry_unlock();
}
EXPORT_SYMBOL_GPL(lucos_patch_unload);

bool lucos_load_apply(const char *name, bool check_only,
		      struct lucos_failure *failure)
{
	struct loaded_patch *loaded = lucos_registry_find(name);
	bool applied, pinned = false;

	if (!loaded)
		return lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH, name, 0);
	if (loaded->state == LUCOS_LOADED_APPLIED)
		return lucos_fail(failure, LUCOS_ERROR_ALREADY_APPLIED, name,
				  0);
	if (loaded->state == LUCOS_LOADED_UNUSED) {
		if (!try_module_get(loaded->module))
			return lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH,
					  name, 0);
		pinned = true;
	}
	applied = lucos_apply(loaded, check_only, failure);
	if (pinned && (!applied || check_only))
		module_put(loaded->module);
	return applied;
}
