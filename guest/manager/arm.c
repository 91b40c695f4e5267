// SPDX-License-Identifier: GPL-2.0
/* How a patch is put in force: its sites are judged and reserved, then LUCOS is asked. */
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <lucos/patch.h>

#include "arm.h"
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
	struct lucos_function functions[LUCOS_MAX_FUNCTIONS];
	struct module *owners[LUCOS_MAX_FUNCTIONS];
	struct lucos_fence *fences[LUCOS_MAX_FUNCTIONS];
	bool holds_slot[LUCOS_MAX_FUNCTIONS];
	u32 at_slot[LUCOS_MAX_FUNCTIONS];	/* why, as an error code */
};

static unsigned long site_of(const struct lucos_function *function)
{
	return function->old_start + function->site_offset;
}

static void drop_owner(struct attempt *attempt, unsigned int index)
{
	module_put(attempt->owners[index]);
	attempt->owners[index] = NULL;
}

/* Makes sure that nobody else changes a site once it is in force. */
static bool reserve(struct attempt *attempt, unsigned int index,
		    struct lucos_failure *failure)
{
	const struct lucos_function *function = &attempt->functions[index];
	unsigned long site = site_of(function);

	if (attempt->flags & LUCOS_FLAG_CHECK_ONLY)
		return true;
	if (!attempt->fences[index])
		attempt->fences[index] = lucos_fence_make();
	if (!attempt->fences[index])
		return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	/* The patch below keeps the slot for the one that stands on it. */
	if (!(function->flags & LUCOS_FUNCTION_SITE_IS_SLOT) ||
	    lucos_patches_own_site(site))
		return true;
	attempt->holds_slot[index] =
		lucos_slot_hold(function->name, site, failure);
	return attempt->holds_slot[index];
}

static bool judge(struct attempt *attempt, unsigned int index,
		  struct lucos_failure *failure)
{
	const struct lucos_patch *patch = attempt->loaded->patch;
	const struct lucos_patch_function *wanted =
		(const struct lucos_patch_function *)patch->functions + index;
	struct lucos_function *function = &attempt->functions[index];
	unsigned long size, offset;

	drop_owner(attempt, index);
	memset(function, 0, sizeof(*function));
	if (!lucos_site_judge(wanted, attempt->loaded->module,
			      &attempt->at_slot[index], function,
			      &attempt->owners[index], failure))
		return false;
	if (!lucos_symbols.kallsyms_lookup_size_offset(wanted->new_entry,
						       &size, &offset) ||
	    offset || !size || size > U32_MAX)
		return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
				  wanted->name, wanted->new_entry);
	function->new_entry = wanted->new_entry;
	function->new_size = size;
	return lucos_descriptor_expect(patch, function, failure) &&
	       reserve(attempt, index, failure);
}

static s64 ask(struct attempt *attempt, struct lucos_registers *registers,
	       struct lucos_failure *failure)
{
	struct lucos_descriptor_header *descriptor;
	s64 result;

	descriptor = lucos_descriptor_build(attempt->loaded->patch,
					    attempt->functions, attempt->count,
					    attempt->flags);
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
	u32 flags;

	if (result != -LUCOS_ERROR_BRANCH_TO_SITE || item >= attempt->count)
		return false;
	flags = attempt->functions[item].flags;
	if (!(flags & LUCOS_FUNCTION_FENTRY_SLOT) ||
	    flags & LUCOS_FUNCTION_SITE_IS_SLOT)
		return false;
	attempt->at_slot[item] = -result;
	return judge(attempt, item, failure);
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
			attempt->functions[registers.rcx].name,
			sizeof(failure->subject));
	return false;
}

/* Keeps what is needed later; what was taken for each function goes over. */
static void keep(struct attempt *attempt)
{
	struct loaded_patch *loaded = attempt->loaded;
	unsigned int i;

	for (i = 0; i < attempt->count; i++) {
		struct loaded_function *function = &loaded->functions[i];
		const struct lucos_function *judged = &attempt->functions[i];

		/* Applied before: that reference is still there. */
		if (function->owner)
			drop_owner(attempt, i);
		else
			function->owner = attempt->owners[i];
		attempt->owners[i] = NULL;
		function->site = site_of(judged);
		function->holds_slot = attempt->holds_slot[i];
		attempt->holds_slot[i] = false;
		function->fence = attempt->fences[i];
		attempt->fences[i] = NULL;
		lucos_fence_put_up(function->fence, function->site,
				   judged->old_start + judged->old_size);
		function->at_slot = attempt->at_slot[i];
		function->no_jump = judged->flags & LUCOS_FUNCTION_NO_JUMP;
		function->settled = function->no_jump;
	}
}

/* Gives back what was taken for an attempt and is not kept. */
static void drop(struct attempt *attempt)
{
	unsigned int i;

	for (i = 0; i < attempt->count; i++) {
		drop_owner(attempt, i);
		lucos_fence_remove(attempt->fences[i]);
		if (attempt->holds_slot[i])
			lucos_slot_release(site_of(&attempt->functions[i]));
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
	attempt->count = lucos_patch_functions(loaded->patch);
	lucos_kprobes_lock();
	for (i = 0; armed && i < attempt->count; i++)
		armed = judge(attempt, i, failure);
	armed = armed && ask_until_settled(attempt, failure);
	if (armed && !check_only) {
		loaded->count = attempt->count;
		loaded->state = LOADED_APPLIED;
		loaded->one_by_one = false;
		keep(attempt);
	}
	drop(attempt);
	lucos_kprobes_unlock();
	return armed;
}
