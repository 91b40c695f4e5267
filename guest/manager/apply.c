// SPDX-License-Identifier: GPL-2.0
/* How a patch is put in force: its sites are judged and reserved, then LUCOS is asked. */
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <lucos/patch.h>

#include "apply.h"
#include "ask.h"
#include "candidate.h"
#include "descriptor.h"
#include "fence.h"
#include "patch_records.h"
#include "registry.h"
#include "settle.h"
#include "site.h"
#include "slot.h"
#include "symbols.h"

/* Everything that one attempt to apply a patch needs. */
struct attempt {
	struct loaded_patch *loaded;
	u32 flags;		/* of the descriptor */
	unsigned int count;
	struct lucos_candidate candidates[LUCOS_MAX_FUNCTIONS];
};

/* Makes sure that nobody else changes a site once it is in force. */
static bool reserve(struct lucos_candidate *candidate,
		    struct lucos_failure *failure)
{
	unsigned long site = lucos_site_of(&candidate->function);

	if (!candidate->fence)
		candidate->fence = lucos_fence_make();
	if (!candidate->fence)
		return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	/* The patch below keeps the slot for the one that stands on it. */
	if (!candidate->at_slot || lucos_registry_owns_site(site))
		return true;
	candidate->holds_slot = lucos_slot_hold(candidate->wanted->name, site,
						&candidate->known->record,
						failure);
	return candidate->holds_slot;
}

static bool judge(const struct attempt *attempt,
		  struct lucos_candidate *candidate,
		  struct lucos_failure *failure)
{
	return lucos_site_judge(candidate, failure) &&
	       lucos_descriptor_expect(attempt->loaded->patch,
				       &candidate->function, failure) &&
	       (attempt->flags & LUCOS_FLAG_CHECK_ONLY ||
		reserve(candidate, failure));
}

static bool prepare(struct attempt *attempt, unsigned int index,
		    struct lucos_failure *failure)
{
	struct lucos_candidate *candidate = &attempt->candidates[index];
	struct loaded_patch *loaded = attempt->loaded;

	candidate->wanted = lucos_patch_function(loaded->patch, index);
	candidate->known = &loaded->functions[index];
	return lucos_site_know(candidate->wanted, loaded->module,
			       candidate->known, failure) &&
	       lucos_site_find(candidate, failure) &&
	       judge(attempt, candidate, failure);
}

static bool ask(const struct attempt *attempt,
		struct lucos_registers *registers, struct lucos_failure *failure)
{
	struct lucos_descriptor_header *descriptor;
	bool done;

	descriptor = lucos_descriptor_build(attempt->loaded->patch,
					    attempt->candidates,
					    attempt->count, attempt->flags);
	if (!descriptor) {
		registers->rcx = LUCOS_NO_ITEM;
		return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	}
	*registers = (struct lucos_registers) {
		.rcx = (unsigned long)descriptor,
		.rdx = descriptor->total_length,
	};
	/* LUCOS shall not meet code that the kernel is half-way through changing. */
	mutex_lock(lucos_symbols.text_mutex);
	done = lucos_ask(LUCOS_CALL_APPLY, registers, failure);
	mutex_unlock(lucos_symbols.text_mutex);
	kvfree(descriptor);
	return done;
}

/*
 * Asks LUCOS. A function that branches to the instruction behind its slot can
 * be redirected at the slot, which nothing branches to: then LUCOS is asked
 * again.
 */
static bool ask_until_settled(struct attempt *attempt,
			      struct lucos_failure *failure)
{
	struct lucos_registers registers;
	struct lucos_candidate *candidate;

	while (!ask(attempt, &registers, failure)) {
		if (registers.rcx >= attempt->count)
			return false;
		candidate = &attempt->candidates[registers.rcx];
		strscpy(failure->subject, candidate->wanted->name,
			sizeof(failure->subject));
		if (failure->code != LUCOS_ERROR_BRANCH_TO_SITE ||
		    !candidate->slot || candidate->at_slot)
			return false;
		candidate->at_slot = failure->code;
		if (!judge(attempt, candidate, failure))
			return false;
	}
	attempt->loaded->number = registers.rbx;
	return true;
}

/* What was taken for each function goes over to the patch. */
static void keep(struct attempt *attempt)
{
	unsigned int i;

	for (i = 0; i < attempt->count; i++) {
		struct lucos_candidate *candidate = &attempt->candidates[i];
		const struct lucos_function *judged = &candidate->function;
		struct loaded_function *function = candidate->known;

		function->site = lucos_site_of(judged);
		function->at_slot = candidate->at_slot;
		function->no_jump = judged->flags & LUCOS_FUNCTION_NO_JUMP;
		function->settled = function->no_jump;
		function->holds_slot = candidate->holds_slot;
		candidate->holds_slot = false;
		function->fence = candidate->fence;
		candidate->fence = NULL;
		lucos_fence_put_up(function->fence, function->site,
				   judged->old_start + judged->old_size);
	}
}

/* Gives back what was taken for an attempt and is not kept. */
static void drop(struct attempt *attempt)
{
	unsigned int i;

	for (i = 0; i < attempt->count; i++) {
		struct lucos_candidate *candidate = &attempt->candidates[i];

		lucos_fence_remove(candidate->fence);
		if (candidate->holds_slot)
			lucos_slot_release(candidate->known->record);
	}
	kvfree(attempt);
}

static bool prepare_all(struct attempt *attempt, struct lucos_failure *failure)
{
	unsigned int i;

	for (i = 0; i < attempt->count; i++)
		if (!prepare(attempt, i, failure))
			return false;
	return true;
}

bool lucos_apply(struct loaded_patch *loaded, bool check_only,
		 struct lucos_failure *failure)
{
	struct attempt *attempt;
	bool done;

	attempt = kvzalloc(sizeof(*attempt), GFP_KERNEL);
	if (!attempt)
		return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	attempt->loaded = loaded;
	attempt->flags = check_only ? LUCOS_FLAG_CHECK_ONLY : 0;
	attempt->count = loaded->count;
	lucos_kprobes_lock();
	done = prepare_all(attempt, failure) &&
	       ask_until_settled(attempt, failure);
	if (done && !check_only) {
		loaded->state = LUCOS_LOADED_APPLIED;
		loaded->one_by_one = false;
		keep(attempt);
		lucos_settle_soon();
	}
	drop(attempt);
	lucos_kprobes_unlock();
	return done;
}
