// SPDX-License-Identifier: GPL-2.0
/* How a patch is put in force: its sites are judged and reserved, then LUCOS is asked. */
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <lucos/patch.h>

#include "arm.h"
#include "candidate.h"
#include "descriptor.h"
#include "fence.h"
#include "hypercall.h"
#include "patches.h"
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
	if (!candidate->at_slot || lucos_patches_own_site(site))
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

static s64 ask(struct attempt *attempt, struct lucos_registers *registers,
	       struct lucos_failure *failure)
{
	struct lucos_descriptor_header *descriptor;
	s64 result;

	descriptor = lucos_descriptor_build(attempt->loaded->patch,
					    attempt->candidates,
					    attempt->count, attempt->flags);
	if (!descriptor) {
		lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
		return -LUCOS_ERROR_NO_MEMORY;
	}
	*registers = (struct lucos_registers) {
		.rcx = (unsigned long)descriptor,
		.rdx = descriptor->total_length,
	};
	/* LUCOS shall not meet code that the kernel is half-way through changing. */
	mutex_lock(lucos_symbols.text_mutex);
	result = lucos_patient_hypercall(LUCOS_CALL_APPLY, registers, failure);
	mutex_unlock(lucos_symbols.text_mutex);
	kvfree(descriptor);
	return result;
}

/*
 * A function that branches to the instruction behind its slot can be
 * redirected at the slot, which nothing branches to.
 */
static bool moves_to_slot(struct attempt *attempt, s64 result, u64 item,
			  struct lucos_failure *failure)
{
	struct lucos_candidate *candidate;

	if (result != -LUCOS_ERROR_BRANCH_TO_SITE || item >= attempt->count)
		return false;
	candidate = &attempt->candidates[item];
	if (!candidate->slot || candidate->at_slot)
		return false;
	candidate->at_slot = -result;
	return judge(attempt, candidate, failure);
}

static bool ask_until_settled(struct attempt *attempt,
			      struct lucos_failure *failure)
{
	struct lucos_registers registers;
	s64 result;

	for (;;) {
		result = ask(attempt, &registers, failure);
		if (result >= 0) {
			attempt->loaded->number = registers.rbx;
			return true;
		}
		if (!moves_to_slot(attempt, result, registers.rcx, failure))
			break;
	}
	if (registers.rcx < attempt->count && !failure->subject[0])
		strscpy(failure->subject,
			attempt->candidates[registers.rcx].wanted->name,
			sizeof(failure->subject));
	return false;
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

bool lucos_arm(struct loaded_patch *loaded, bool check_only,
	       struct lucos_failure *failure)
{
	struct attempt *attempt;
	bool armed = true;
	unsigned int i;

	attempt = kvzalloc(sizeof(*attempt), GFP_KERNEL);
	if (!attempt)
		return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	attempt->loaded = loaded;
	attempt->flags = check_only ? LUCOS_FLAG_CHECK_ONLY : 0;
	attempt->count = loaded->count;
	lucos_kprobes_lock();
	for (i = 0; armed && i < attempt->count; i++)
		armed = prepare(attempt, i, failure);
	armed = armed && ask_until_settled(attempt, failure);
	if (armed && !check_only) {
		loaded->state = LOADED_APPLIED;
		loaded->one_by_one = false;
		keep(attempt);
	}
	drop(attempt);
	lucos_kprobes_unlock();
	return armed;
}
