// SPDX-License-Identifier: GPL-2.0
/*
 * How patches are put in force, several in one step: their sites are judged and
 * reserved, then LUCOS is asked.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <lucos/patch.h>

#include "apply.h"
#include "ask.h"
#include "candidate.h"
#include "commit.h"
#include "descriptor.h"
#include "fence.h"
#include "move.h"
#include "needs.h"
#include "patch_records.h"
#include "registry.h"
#include "settle.h"
#include "site.h"
#include "slot.h"

/* Everything that one attempt to apply a patch needs. */
struct attempt {
	struct loaded_patch *loaded;
	unsigned int count;
	struct lucos_candidate candidates[LUCOS_MAX_FUNCTIONS];
};

/* The attempts of one step, each as if those before it had succeeded. */
struct step {
	unsigned int count;
	struct attempt *attempts[LUCOS_MAX_GROUP];
	struct loaded_patch *patches[LUCOS_MAX_GROUP];
	u32 flags;		/* of the descriptors */
	u32 number;		/* what LUCOS calls the first patch */
	void *bytes;		/* which LUCOS is given */
	u64 rip;		/* of a transfer function that was ended */
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
	if (!candidate->at_slot || candidate->holds_slot ||
	    lucos_registry_owns_site(site))
		return true;
	candidate->holds_slot = lucos_slot_hold(candidate->wanted->name, site,
						&candidate->known->record,
						failure);
	return candidate->holds_slot;
}

static bool judge(const struct step *step, const struct attempt *attempt,
		  struct lucos_candidate *candidate,
		  struct lucos_failure *failure)
{
	return lucos_site_judge(candidate, failure) &&
	       lucos_descriptor_expect(attempt->loaded->patch,
				       &candidate->function, failure) &&
	       (step->flags & LUCOS_FLAG_CHECK_ONLY ||
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
	       lucos_site_find(candidate, failure);
}

/* Judges all sites of a patch; those that come after it see them as its own. */
static bool judge_all(const struct step *step, struct attempt *attempt,
		      struct lucos_failure *failure)
{
	struct loaded_patch *loaded = attempt->loaded;
	unsigned int i;

	loaded->pending = false;
	for (i = 0; i < attempt->count; i++)
		if (!judge(step, attempt, &attempt->candidates[i], failure))
			return false;
	for (i = 0; i < attempt->count; i++)
		loaded->functions[i].site =
			lucos_site_of(&attempt->candidates[i].function);
	loaded->pending = true;
	return true;
}

static bool prepare_all(const struct step *step, struct attempt *attempt,
			struct lucos_failure *failure)
{
	unsigned int i;

	for (i = 0; i < attempt->count; i++)
		if (!prepare(attempt, i, failure))
			return false;
	return judge_all(step, attempt, failure);
}

static struct lucos_descriptor_header *describe(const struct step *step,
						const struct attempt *attempt,
						struct lucos_failure *failure)
{
	return lucos_descriptor_build(attempt->loaded, attempt->candidates,
				      step->flags, failure);
}

/* The descriptors of a step as LUCOS takes them; sets their length. */
static void *describe_step(const struct step *step, size_t *length,
			   struct lucos_failure *failure)
{
	struct lucos_descriptor_header *descriptors[LUCOS_MAX_GROUP] = {};
	void *bytes = NULL;
	unsigned int i;

	for (i = 0; i < step->count; i++) {
		descriptors[i] = describe(step, step->attempts[i], failure);
		if (!descriptors[i])
			goto out;
	}
	if (step->count == 1) {
		*length = descriptors[0]->total_length;
		return descriptors[0];
	}
	bytes = lucos_descriptor_join(descriptors, step->count, length);
	if (!bytes)
		lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
out:
	for (i = 0; i < step->count; i++)
		kvfree(descriptors[i]);
	return bytes;
}

/* Says which patch, function, value or dependency LUCOS complains about. */
static void name_culprit(const struct step *step, u64 place,
			 struct lucos_failure *failure)
{
	const struct lucos_patch *patch;
	char name[LUCOS_NAME_SIZE] = "";
	u32 item = (u32)place;

	if (place >> 32 >= step->count)
		return;
	patch = step->attempts[place >> 32]->loaded->patch;
	lucos_patch_name_item(patch, item, name);
	if (!name[0] && step->count > 1)
		strscpy(name, patch->name, sizeof(name));
	if (name[0])
		strscpy(failure->subject, name, sizeof(failure->subject));
	lucos_name_place(step->rip, failure);
}

/* The data versions as they are now. */
static void add_pairs(void *context)
{
	struct step *step = context;
	unsigned int i;

	for (i = 0; i < step->count; i++)
		lucos_descriptor_add_pairs(
			lucos_descriptor_member(step->bytes, step->count, i),
			step->patches[i]);
}

/* `place` says which descriptor LUCOS complains about, and which of its items. */
static bool ask(struct step *step, u64 *place,
		struct lucos_failure *failure)
{
	struct lucos_registers registers = {};
	struct lucos_move move = {
		.patches = step->patches,
		/* For a check nothing is made, and no lock is taken. */
		.count = step->flags & LUCOS_FLAG_CHECK_ONLY ? 0 : step->count,
		.to = LUCOS_TO_TWINS,
		.holds_text = true,
		.describe = add_pairs,
		.context = step,
	};
	size_t length;
	bool done;

	*place = (u64)step->count << 32;
	step->bytes = describe_step(step, &length, failure);
	if (!step->bytes)
		return false;
	registers.rcx = (unsigned long)step->bytes;
	registers.rdx = length;
	done = lucos_move_ask(&move, LUCOS_CALL_APPLY, &registers, failure);
	kvfree(step->bytes);
	if (done)
		*place = registers.rbx;
	else
		*place = registers.rcx;
	step->rip = registers.rbx;
	return done;
}

/* Chooses the slot as the site of a function, if that is what LUCOS wants. */
static bool go_to_slot(const struct step *step, u64 place,
		       struct lucos_failure *failure)
{
	struct lucos_candidate *candidate;
	unsigned int i = place >> 32;

	if (failure->code != LUCOS_ERROR_BRANCH_TO_SITE || i >= step->count ||
	    (u32)place >= step->attempts[i]->count)
		return false;
	candidate = &step->attempts[i]->candidates[(u32)place];
	if (!candidate->slot || candidate->at_slot)
		return false;
	candidate->at_slot = failure->code;
	/* What comes after it may stand on it. */
	for (; i < step->count; i++)
		if (!judge_all(step, step->attempts[i], failure))
			return false;
	return true;
}

/*
 * Asks LUCOS. A function that branches to the instruction behind its slot can
 * be redirected at the slot, which nothing branches to: then LUCOS is asked
 * again.
 */
static bool ask_until_settled(void *context, bool clear_only,
			      struct lucos_failure *failure)
{
	struct step *step = context;
	u64 place;

	step->flags &= ~LUCOS_FLAG_CLEAR_ONLY;
	if (clear_only)
		step->flags |= LUCOS_FLAG_CLEAR_ONLY;

	while (!ask(step, &place, failure)) {
		name_culprit(step, place, failure);
		if (!go_to_slot(step, place, failure))
			return false;
	}
	step->number = place;
	return true;
}

static bool commit(struct step *step, struct lucos_failure *failure)
{
	const struct lucos_commit commit = {
		.patches = step->patches,
		.count = step->count,
		.to = LUCOS_TO_TWINS,
		.ask = ask_until_settled,
		.context = step,
	};

	if (step->flags & LUCOS_FLAG_CHECK_ONLY)
		return ask_until_settled(step, false, failure);
	return lucos_commit(&commit, failure);
}

/* What was taken for each function goes over to the patch. */
static void keep(struct attempt *attempt)
{
	unsigned int i;

	for (i = 0; i < attempt->count; i++) {
		struct lucos_candidate *candidate = &attempt->candidates[i];
		const struct lucos_function *judged = &candidate->function;
		struct loaded_function *function = candidate->known;

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

	attempt->loaded->pending = false;
	for (i = 0; i < attempt->count; i++) {
		struct lucos_candidate *candidate = &attempt->candidates[i];

		lucos_fence_remove(candidate->fence);
		if (candidate->holds_slot)
			lucos_slot_release(candidate->known->record);
	}
	kvfree(attempt);
}

static bool add_attempt(struct step *step, struct loaded_patch *loaded,
			struct lucos_failure *failure)
{
	struct attempt *attempt;

	attempt = kvzalloc(sizeof(*attempt), GFP_KERNEL);
	if (!attempt)
		return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	attempt->loaded = loaded;
	attempt->count = loaded->count;
	step->patches[step->count] = loaded;
	step->attempts[step->count++] = attempt;
	return prepare_all(step, attempt, failure);
}

/* The patches of a step are in force. */
static void take_over(const struct step *step)
{
	unsigned int i;

	for (i = 0; i < step->count; i++) {
		struct loaded_patch *loaded = step->attempts[i]->loaded;

		loaded->state = LUCOS_LOADED_APPLIED;
		loaded->one_by_one = false;
		loaded->number = step->number + i;
		keep(step->attempts[i]);
	}
	lucos_settle_soon();
}

bool lucos_apply(struct loaded_patch **patches, unsigned int count, u32 flags,
		 struct lucos_failure *failure)
{
	struct step step = { .flags = flags };
	bool done = true;
	unsigned int i;

	if (count > LUCOS_MAX_GROUP)
		return lucos_fail(failure, LUCOS_ERROR_TOO_MANY_PATCHES, NULL,
				  count);
	lucos_kprobes_lock();
	for (i = 0; done && i < count; i++)
		done = add_attempt(&step, patches[i], failure);
	done = done && lucos_needs_no_trial(patches, count, failure) &&
	       commit(&step, failure);
	if (done && !(flags & LUCOS_FLAG_CHECK_ONLY))
		take_over(&step);
	while (step.count)
		drop(step.attempts[--step.count]);
	lucos_kprobes_unlock();
	return done;
}
