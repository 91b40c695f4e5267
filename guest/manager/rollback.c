// SPDX-License-Identifier: GPL-2.0
/* How patches are taken back, and which ones. */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/list.h>
#include <linux/printk.h>

#include <lucos/patch.h>

#include "events.h"
#include "needs.h"
#include "registry.h"
#include "rollback.h"
#include "step.h"
#include "tell.h"

/* How often it is tried to take everything back when nothing can be. */
#define TRIES 5

/* Patches that leave, the last one that came first. */
struct leaving {
	unsigned int count;
	struct loaded_patch *patches[LUCOS_MAX_GROUP];
};

/* Whether `later` cannot stay without `loaded`. */
static bool depends(const struct loaded_patch *later,
		    const struct loaded_patch *loaded)
{
	return later->state == LUCOS_LOADED_APPLIED &&
	       later->number > loaded->number &&
	       lucos_needs(later, loaded);
}

static bool depends_on_any(const struct loaded_patch *later,
			   const struct leaving *leaving)
{
	unsigned int i;
	bool depending = false;

	for (i = 0; i < leaving->count; i++) {
		if (leaving->patches[i] == later)
			return false;
		depending |= depends(later, leaving->patches[i]);
	}
	return depending;
}

/* A patch that has to go with those that leave, or NULL. */
static struct loaded_patch *next_dependent(const struct leaving *leaving)
{
	struct loaded_patch *loaded;

	list_for_each_entry(loaded, &lucos_registry, link)
		if (depends_on_any(loaded, leaving))
			return loaded;
	return NULL;
}

/* What came later stands on what came earlier: it goes first. */
static void insert(struct leaving *leaving, struct loaded_patch *loaded)
{
	unsigned int i = leaving->count++;

	while (i && leaving->patches[i - 1]->number < loaded->number) {
		leaving->patches[i] = leaving->patches[i - 1];
		i--;
	}
	leaving->patches[i] = loaded;
}

static bool add_dependents(struct leaving *leaving, const char *name,
			   struct lucos_failure *failure)
{
	struct loaded_patch *loaded;

	while ((loaded = next_dependent(leaving))) {
		if (leaving->count == LUCOS_MAX_GROUP)
			return lucos_fail(failure,
					  LUCOS_ERROR_TOO_MANY_PATCHES, name,
					  leaving->count + 1);
		insert(leaving, loaded);
	}
	return true;
}

static bool roll_back(struct loaded_patch *loaded, bool with_dependents,
		      struct leaving *leaving, struct lucos_failure *failure)
{
	insert(leaving, loaded);
	if ((!with_dependents ||
	     add_dependents(leaving, loaded->patch->name, failure)) &&
	    lucos_step_rollback(leaving->patches, leaving->count, failure))
		return true;
	lucos_event_note(LUCOS_EVENT_NOT_ROLLED_BACK, loaded->patch->name,
			 loaded->number, failure);
	return false;
}

bool lucos_roll_back(const char *name, bool with_dependents,
		     struct lucos_answer *answer,
		     struct lucos_failure *failure)
{
	struct loaded_patch *loaded = lucos_registry_find(name);
	struct leaving leaving = {};
	unsigned int i;

	if (!loaded)
		return lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH, name, 0);
	if (loaded->state != LUCOS_LOADED_APPLIED)
		return lucos_fail(failure, LUCOS_ERROR_NOT_APPLIED, name, 0);
	if (!roll_back(loaded, with_dependents, &leaving, failure))
		return false;
	for (i = 0; i < leaving.count; i++)
		lucos_tell_left(answer, leaving.patches[i]);
	return true;
}

/* Takes back what can be; false when that was nothing. */
static bool roll_back_some(void)
{
	struct lucos_failure failure;
	struct loaded_patch *loaded;
	bool some = false;

	list_for_each_entry_reverse(loaded, &lucos_registry, link) {
		struct leaving leaving = {};

		if (loaded->state == LUCOS_LOADED_APPLIED &&
		    roll_back(loaded, false, &leaving, &failure))
			some = true;
	}
	return some;
}

static unsigned int applied_patches(void)
{
	struct loaded_patch *loaded;
	unsigned int count = 0;

	list_for_each_entry(loaded, &lucos_registry, link)
		count += loaded->state == LUCOS_LOADED_APPLIED;
	return count;
}

bool lucos_roll_back_all(void)
{
	struct loaded_patch *loaded;
	unsigned int tries = TRIES;

	/*
	 * A patch can stand on one that was loaded after it, and a processor
	 * can be late for the stop.
	 */
	while (applied_patches() && (roll_back_some() || --tries))
		;
	list_for_each_entry(loaded, &lucos_registry, link)
		if (loaded->state == LUCOS_LOADED_APPLIED)
			pr_warn("%s cannot be taken back\n",
				loaded->patch->name);
	return !applied_patches();
}
