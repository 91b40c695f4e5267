// SPDX-License-Identifier: GPL-2.0
/* Patches that come into force, or go, in one step. */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/delay.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <lucos/patch.h>

#include "apply.h"
#include "ask.h"
#include "commit.h"
#include "events.h"
#include "fence.h"
#include "hooks.h"
#include "move.h"
#include "patch_records.h"
#include "probation.h"
#include "registry.h"
#include "settle.h"
#include "slot.h"
#include "step.h"

/* How often a rollback that must not fail is tried, and the pause between. */
#define TRIES 20
#define PAUSE_MS 100

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

/* What LUCOS is told of patches that leave. */
struct leaving {
	struct loaded_patch *const *patches;
	unsigned int count;
	struct lucos_rollback *record;
};

static bool make_record(struct leaving *leaving, struct lucos_failure *failure)
{
	struct lucos_rollback *record;
	unsigned int i, versions = 0;
	size_t length;

	for (i = 0; i < leaving->count; i++)
		versions += lucos_versions_count(leaving->patches[i]->patch);
	length = sizeof(*record) +
		 versions * sizeof(struct lucos_rollback_version);
	record = kvzalloc(length, GFP_KERNEL);
	if (!record)
		return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	record->version = LUCOS_ROLLBACK_VERSION;
	record->total_length = length;
	record->count = leaving->count;
	record->data_count = versions;
	for (i = 0; i < leaving->count; i++)
		record->patches[i] = leaving->patches[i]->number;
	leaving->record = record;
	return true;
}

/* The data versions as they are now. */
static void describe(void *context)
{
	struct leaving *leaving = context;
	struct lucos_rollback_version *next = (void *)(leaving->record + 1);
	unsigned int i;

	for (i = 0; i < leaving->count; i++) {
		lucos_versions_describe_rollback(leaving->patches[i], next);
		next += lucos_versions_count(leaving->patches[i]->patch);
	}
}

/* Asks LUCOS to take patches back in one step, or only whether it would. */
static bool ask(struct loaded_patch *const *patches, unsigned int count,
		u64 flags, struct lucos_failure *failure)
{
	struct leaving leaving = { .patches = patches, .count = count };
	struct lucos_move move = {
		.patches = patches,
		/* For a check nothing is made, and no lock is taken. */
		.count = flags & LUCOS_ROLLBACK_CHECK_ONLY ? 0 : count,
		.to = LUCOS_TO_OBJECTS,
		.describe = describe,
		.context = &leaving,
	};
	struct lucos_registers registers = {
		.rcx = patches[count - 1]->number,
		.rdx = flags,
	};
	unsigned int i;
	bool done;

	if (!make_record(&leaving, failure))
		return false;
	if (count > 1 || leaving.record->data_count) {
		registers.rdx |= (u64)leaving.record->total_length << 32;
		registers.rsi = (unsigned long)leaving.record;
	}
	done = lucos_move_ask(&move, LUCOS_CALL_ROLLBACK, &registers, failure);
	kvfree(leaving.record);
	if (done)
		return true;
	i = min_t(u64, registers.rcx >> 32, count - 1);
	strscpy(failure->subject, patches[i]->patch->name,
		sizeof(failure->subject));
	lucos_versions_name(patches[i]->patch,
			    (u32)registers.rcx - LUCOS_DATA_ITEMS,
			    failure->subject);
	lucos_name_place(registers.rbx, failure);
	return count == 1 && is_back_already(failure->code);
}

static bool ask_leaving(void *context, bool clear_only,
			struct lucos_failure *failure)
{
	const struct lucos_commit *commit = context;

	return ask(commit->patches, commit->count,
		   clear_only ? LUCOS_ROLLBACK_CLEAR_ONLY : 0, failure);
}

/* Has LUCOS take patches back in one step. */
static bool commit(struct loaded_patch **patches, unsigned int count,
		   struct lucos_failure *failure)
{
	struct lucos_commit commit = {
		.patches = patches,
		.count = count,
		.to = LUCOS_TO_OBJECTS,
		.ask = ask_leaving,
		.context = &commit,
	};

	return lucos_commit(&commit, failure);
}

/* Everything that follows once LUCOS has taken a patch back. */
static void let_one_go(struct loaded_patch *loaded)
{
	/* Nobody can tell when the kernel has forgotten what it got. */
	loaded->state = lucos_patch_kept(loaded->patch) ?
				LUCOS_LOADED_KEPT :
				LUCOS_LOADED_DRAINING;
	lucos_probation_end(loaded);
	lucos_code_free(&loaded->old_code);
	give_back(loaded);
	uncover(loaded);
	lucos_settle_soon();
}

static void let_go(struct loaded_patch **patches, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		let_one_go(patches[i]);
		lucos_event_note(LUCOS_EVENT_ROLLED_BACK,
				 patches[i]->patch->name, patches[i]->number,
				 NULL);
	}
}

/* Takes back what must not stay in force; tells when it stays all the same. */
static void take_back(struct loaded_patch **patches, unsigned int count)
{
	struct loaded_patch *last_first[LUCOS_MAX_GROUP];
	struct lucos_failure failure;
	unsigned int i, tries;

	for (i = 0; i < count; i++)
		last_first[i] = patches[count - 1 - i];
	for (tries = 0; tries < TRIES; tries++) {
		if (commit(last_first, count, &failure)) {
			let_go(last_first, count);
			return;
		}
		msleep(PAUSE_MS);
	}
	pr_err("%s cannot be taken back: %s\n", failure.subject,
	       lucos_error_meaning(failure.code));
}

/* Puts patches in force, on probation from the first instant on. */
static bool apply(struct loaded_patch **patches, unsigned int count,
		  u32 probation, struct lucos_failure *failure)
{
	unsigned int i;
	bool done;

	if (!probation)
		return lucos_apply(patches, count, 0, failure);
	/* LUCOS would need lists of the data that are true at any instant. */
	for (i = 0; i < count; i++)
		if (lucos_versions_any(patches[i]))
			return lucos_fail(failure, LUCOS_ERROR_UNSUPPORTED,
					  patches[i]->patch->name, 0);
	if (!lucos_probation_prepare(count, failure))
		return false;
	done = lucos_apply(patches, count, 0, failure);
	for (i = 0; done && i < count; i++)
		lucos_probation_begin(patches[i], probation);
	lucos_probation_settle();
	return done;
}

bool lucos_step_apply(struct loaded_patch **patches, unsigned int count,
		      u32 probation, struct lucos_failure *failure)
{
	unsigned int i;

	if (!apply(patches, count, probation, failure))
		return false;
	for (i = 0; i < count; i++)
		lucos_event_note(LUCOS_EVENT_APPLIED, patches[i]->patch->name,
				 patches[i]->number, NULL);
	for (i = 0; i < count; i++)
		if (!lucos_hook_on_apply(patches[i]->patch, failure))
			break;
	if (i == count)
		return true;
	while (i--)
		lucos_hook_on_rollback(patches[i]->patch);
	take_back(patches, count);
	return false;
}

/* The patches stay in force: what their hooks undid is done again. */
static void hook_again(struct loaded_patch **patches, unsigned int count)
{
	struct lucos_failure failure;

	while (count--)
		if (!lucos_hook_on_apply(patches[count]->patch, &failure))
			pr_err("%s stays in force, and its hook failed: %llu\n",
			       failure.subject, failure.detail);
}

static bool any_has_hook(struct loaded_patch **patches, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		if (patches[i]->patch->on_rollback)
			return true;
	return false;
}

bool lucos_step_rollback(struct loaded_patch **patches, unsigned int count,
			 struct lucos_failure *failure)
{
	unsigned int i;

	if (count > LUCOS_MAX_GROUP)
		return lucos_fail(failure, LUCOS_ERROR_TOO_MANY_PATCHES, NULL,
				  count);
	/* No hook is called for what LUCOS refuses. */
	if (any_has_hook(patches, count) &&
	    !ask(patches, count, LUCOS_ROLLBACK_CHECK_ONLY, failure))
		return false;
	for (i = 0; i < count; i++)
		lucos_hook_on_rollback(patches[i]->patch);
	if (!commit(patches, count, failure)) {
		hook_again(patches, count);
		return false;
	}
	let_go(patches, count);
	return true;
}

/* Whether LUCOS says that a patch is in force, or does not say. */
static bool is_in_force(u32 number)
{
	/* LUCOS writes here. The registry's lock is held. */
	static struct lucos_patch_status status;
	struct lucos_failure failure;
	unsigned int tries = 0;
	u32 position = 0;

	for (;;) {
		if (lucos_query(LUCOS_QUERY_PATCH, position, &status,
				sizeof(status), &failure)) {
			if (status.number == number)
				return status.state == LUCOS_PATCH_APPLIED;
			position++;
		} else if (failure.code == LUCOS_ERROR_BUSY &&
			   tries++ < TRIES) {
			msleep(PAUSE_MS);
		} else {
			/* What is not in the list is forgotten. */
			return failure.code != LUCOS_ERROR_UNKNOWN_PATCH;
		}
	}
}

/* What stands on a patch, or needs it, has gone with it. */
void lucos_step_withdrawn(u32 cause)
{
	const struct lucos_failure why = { .code = cause };
	struct loaded_patch *loaded;

	list_for_each_entry_reverse(loaded, &lucos_registry, link) {
		if (loaded->state != LUCOS_LOADED_APPLIED ||
		    is_in_force(loaded->number))
			continue;
		/* It could not be asked before. */
		lucos_hook_on_rollback(loaded->patch);
		let_one_go(loaded);
		lucos_event_note(LUCOS_EVENT_WITHDRAWN, loaded->patch->name,
				 loaded->number, &why);
	}
}
