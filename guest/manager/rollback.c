// SPDX-License-Identifier: GPL-2.0
/* How patches are taken back. */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/list.h>
#include <linux/printk.h>
#include <linux/string.h>

#include <lucos/patch.h>

#include "ask.h"
#include "fence.h"
#include "patch_records.h"
#include "registry.h"
#include "rollback.h"
#include "settle.h"
#include "slot.h"

/* How often it is tried to take everything back when nothing can be. */
#define TRIES 5

/* A redirection that was covered by this one may get its jump now. */
static void uncover(const struct loaded_patch *gone)
{
	struct loaded_patch *loaded;
	unsigned int i, j;

	list_for_each_entry(loaded, &lucos_registry, link)
		for (i = 0; i < loaded->count; i++)
			for (j = 0; j < gone->count; j++)
				if (loaded->functions[i].site ==
				    gone->functions[j].site)
					loaded->functions[i].settled =
						loaded->functions[i].no_jump;
}

/* The sites of a patch are the kernel's again. */
static void give_back(struct loaded_patch *loaded)
{
	unsigned int i;

	lucos_kprobes_lock();
	for (i = 0; i < loaded->count; i++) {
		struct loaded_function *function = &loaded->functions[i];

		lucos_fence_remove(function->fence);
		function->fence = NULL;
		if (function->holds_slot)
			lucos_slot_release(function->record);
		function->holds_slot = false;
	}
	lucos_kprobes_unlock();
}

/* LUCOS may have completed since what it could not when last asked. */
static bool is_back_already(u32 code)
{
	return code == LUCOS_ERROR_NOT_APPLIED ||
	       code == LUCOS_ERROR_UNKNOWN_PATCH;
}

static bool roll_back(struct loaded_patch *loaded,
		      struct lucos_failure *failure)
{
	struct lucos_registers registers = {
		.rcx = loaded->number,
	};

	if (!lucos_ask(LUCOS_CALL_ROLLBACK, &registers, failure) &&
	    !is_back_already(failure->code)) {
		strscpy(failure->subject, loaded->patch->name,
			sizeof(failure->subject));
		return false;
	}
	/* Nobody can tell when the kernel has forgotten what it was given. */
	loaded->state = lucos_patch_kept(loaded->patch) ? LUCOS_LOADED_KEPT :
							  LUCOS_LOADED_DRAINING;
	give_back(loaded);
	uncover(loaded);
	return true;
}

bool lucos_roll_back(const char *name, struct lucos_failure *failure)
{
	struct loaded_patch *loaded = lucos_registry_find(name);

	if (!loaded)
		return lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH, name, 0);
	if (loaded->state != LUCOS_LOADED_APPLIED)
		return lucos_fail(failure, LUCOS_ERROR_NOT_APPLIED, name, 0);
	if (!roll_back(loaded, failure))
		return false;
	lucos_settle_soon();
	return true;
}

/* Takes back what can be; false when that was nothing. */
static bool roll_back_some(void)
{
	struct lucos_failure failure;
	struct loaded_patch *loaded;
	bool some = false;

	list_for_each_entry_reverse(loaded, &lucos_registry, link)
		if (loaded->state == LUCOS_LOADED_APPLIED &&
		    roll_back(loaded, &failure))
			some = true;
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
