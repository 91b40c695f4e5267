// SPDX-License-Identifier: GPL-2.0
/* How a patch module comes and goes, and how one that is loaded is applied. */
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <lucos/patch.h>

#include "apply.h"
#include "events.h"
#include "load.h"
#include "outcome.h"
#include "patch_records.h"
#include "pins.h"
#include "registry.h"
#include "settle.h"
#include "step.h"
#include "twins.h"
#include "values.h"

static void forget(struct loaded_patch *loaded)
{
	unsigned int i;

	for (i = 0; i < loaded->count; i++)
		module_put(loaded->functions[i].owner);
	lucos_unpin(loaded);
	lucos_code_free(&loaded->old_code);
	lucos_twin_tables_free(loaded);
	lucos_versions_forget(loaded);
	kvfree(loaded);
}

/* A patch that is well-formed; or NULL after filling `failure`. */
static struct loaded_patch *know(struct lucos_patch *patch,
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
	loaded->publishes = lucos_values_publish(patch, module);
	loaded->state = LUCOS_LOADED_LOADED;
	if (lucos_pin(loaded, failure) &&
	    lucos_twin_tables_make(loaded, failure) &&
	    lucos_versions_make(loaded, failure))
		return loaded;
	forget(loaded);
	return NULL;
}

/*
 * Does with a patch what it was loaded for. While its code can run, the module
 * cannot be unloaded: also when a hook has failed, for a thread may be in it.
 */
static enum lucos_verdict treat(struct loaded_patch *loaded,
				struct lucos_failure *failure)
{
	const struct lucos_patch *patch = loaded->patch;

	if (patch->check_only)
		return lucos_apply(&loaded, 1, LUCOS_FLAG_CHECK_ONLY, failure) ?
			       LUCOS_VERDICT_CHECKED :
			       LUCOS_VERDICT_REFUSED;
	list_add_tail(&loaded->link, &lucos_registry);
	if (patch->join)
		return LUCOS_VERDICT_LOADED;
	__module_get(loaded->module);
	if (lucos_step_apply(&loaded, 1, 0, failure))
		return LUCOS_VERDICT_APPLIED;
	lucos_event_note(LUCOS_EVENT_REFUSED, patch->name, loaded->number,
			 failure);
	if (loaded->state == LUCOS_LOADED_LOADED) {
		module_put(loaded->module);
		list_del(&loaded->link);
	}
	return LUCOS_VERDICT_REFUSED;
}

static int load(struct lucos_patch *patch, struct module *module,
		struct lucos_failure *failure, enum lucos_verdict *verdict)
{
	struct loaded_patch *loaded = know(patch, module, failure);

	*verdict = LUCOS_VERDICT_REFUSED;
	if (!loaded)
		return -EINVAL;
	*verdict = treat(loaded, failure);
	if (*verdict == LUCOS_VERDICT_CHECKED ||
	    (*verdict == LUCOS_VERDICT_REFUSED &&
	     loaded->state == LUCOS_LOADED_LOADED)) {
		/* The module is not wanted: its init fails and it goes. */
		forget(loaded);
		return *verdict == LUCOS_VERDICT_CHECKED ? -ECANCELED : -EINVAL;
	}
	return 0;
}

int lucos_patch_load(struct lucos_patch *patch, struct module *module)
{
	struct lucos_failure failure = {};
	enum lucos_verdict verdict;
	int result;

	lucos_registry_lock();
	result = load(patch, module, &failure, &verdict);
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

/* A patch that is loaded and not in force. */
static struct loaded_patch *find_idle(const char *name,
				      struct lucos_failure *failure)
{
	struct loaded_patch *loaded = lucos_registry_find(name);

	if (!loaded)
		lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH, name, 0);
	else if (loaded->state == LUCOS_LOADED_APPLIED)
		lucos_fail(failure, LUCOS_ERROR_ALREADY_APPLIED, name, 0);
	/*
	 * Objects have gone since the rollback, and their twins are still there
	 * because somebody may be using one.
	 */
	else if (lucos_twins_any(loaded) ||
		 lucos_versions_sides(loaded) != LUCOS_SIDES_OLD)
		lucos_fail(failure, LUCOS_ERROR_NOT_SETTLED, name, 0);
	else
		return loaded;
	return NULL;
}

/* Nobody is in its code, and its module may go at any time. */
static bool may_go(const struct loaded_patch *loaded)
{
	return loaded->state == LUCOS_LOADED_UNUSED ||
	       loaded->state == LUCOS_LOADED_LOADED;
}

/* Patches that are kept from going while they are applied. */
struct held {
	unsigned int count;
	struct loaded_patch *patches[LUCOS_MAX_GROUP];
	bool pinned[LUCOS_MAX_GROUP];
};

static bool hold(struct held *held, const char *name,
		 struct lucos_failure *failure)
{
	struct loaded_patch *loaded = find_idle(name, failure);
	unsigned int i;

	if (!loaded)
		return false;
	if (held->count == LUCOS_MAX_GROUP)
		return lucos_fail(failure, LUCOS_ERROR_TOO_MANY_PATCHES, name,
				  held->count + 1);
	for (i = 0; i < held->count; i++)
		if (held->patches[i] == loaded)
			return lucos_fail(failure, LUCOS_ERROR_ALREADY_APPLIED,
					  name, 0);
	if (may_go(loaded) && !try_module_get(loaded->module))
		return lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH, name, 0);
	held->pinned[held->count] = may_go(loaded);
	held->patches[held->count++] = loaded;
	return true;
}

/* What has come into force, if only for a moment, drains on its own. */
static void release(const struct held *held)
{
	unsigned int i;

	for (i = 0; i < held->count; i++)
		if (held->pinned[i] && may_go(held->patches[i]))
			module_put(held->patches[i]->module);
}

static bool hold_all(struct held *held, char *names,
		     struct lucos_failure *failure)
{
	char *name;

	while ((name = strsep(&names, " ")))
		if (!hold(held, name, failure))
			return false;
	return true;
}

bool lucos_load_apply(char *names, u32 probation, struct lucos_failure *failure)
{
	struct held held = {};
	unsigned int i;
	bool done;

	done = hold_all(&held, names, failure) &&
	       lucos_step_apply(held.patches, held.count, probation, failure);
	for (i = 0; !done && i < held.count; i++)
		lucos_event_note(LUCOS_EVENT_REFUSED,
				 held.patches[i]->patch->name, 0, failure);
	release(&held);
	return done;
}

bool lucos_load_check(char *names, struct lucos_failure *failure)
{
	struct held held = {};
	bool done;

	done = hold_all(&held, names, failure) &&
	       lucos_apply(held.patches, held.count,
			   LUCOS_FLAG_CHECK_ONLY, failure);
	release(&held);
	return done;
}
