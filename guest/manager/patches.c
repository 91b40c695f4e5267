// SPDX-License-Identifier: GPL-2.0
/* The patch modules that are loaded, and how they are applied and taken back. */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <lucos/patch.h>

#include "descriptor.h"
#include "load.h"
#include "nmi.h"
#include "outcome.h"
#include "patches.h"
#include "registration.h"
#include "settle.h"
#include "site.h"
#include "slot.h"
#include "symbols.h"

/* How often, and how many milliseconds apart, a busy LUCOS is asked again. */
#define BUSY_RETRIES 50
#define BUSY_PAUSE_MS 10

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

s64 lucos_patient_hypercall(enum lucos_call call,
			    struct lucos_registers *registers,
			    struct lucos_failure *failure)
{
	const struct lucos_registers arguments = *registers;
	unsigned int tries = 0;
	s64 result;

	for (;;) {
		*registers = arguments;
		lucos_nmi_call_begins();
		result = lucos_hypercall(call, registers);
		lucos_nmi_call_ends();
		if (result != -LUCOS_ERROR_BUSY || tries++ == BUSY_RETRIES)
			break;
		msleep(BUSY_PAUSE_MS);
	}
	if (result < 0)
		lucos_fail(failure, -result, NULL, registers->rdx);
	return result;
}

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
		.rbx = lucos_nonce(),
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

/* Checks a patch and puts it in force, or only checks it. */
static bool arm(struct loaded_patch *loaded, bool check_only,
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
	if (!lucos_load_pin(loaded, failure) ||
	    !arm(loaded, patch->check_only, failure)) {
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
	mutex_unlock(&lucos_patches_lock);
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
	armed = arm(loaded, check_only, failure);
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

/* A redirection that was covered by this one may get its jump now. */
static void uncover(const struct loaded_patch *gone)
{
	struct loaded_patch *loaded;
	unsigned int i, j;

	list_for_each_entry(loaded, &lucos_patches, link)
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
			lucos_slot_release(function->site);
		function->holds_slot = false;
	}
	lucos_kprobes_unlock();
}

static bool roll_back(struct loaded_patch *loaded,
		      struct lucos_failure *failure)
{
	struct lucos_registers registers = {
		.rbx = lucos_nonce(),
		.rcx = loaded->number,
	};

	if (lucos_patient_hypercall(LUCOS_CALL_ROLLBACK, &registers,
				    failure) < 0) {
		strscpy(failure->subject, loaded->patch->name,
			sizeof(failure->subject));
		return false;
	}
	loaded->state = LOADED_DRAINING;
	give_back(loaded);
	uncover(loaded);
	return true;
}

bool lucos_patches_rollback(const char *name, struct lucos_failure *failure)
{
	struct loaded_patch *loaded;
	bool done;

	mutex_lock(&lucos_patches_lock);
	loaded = lucos_patches_find(name);
	if (!loaded)
		done = lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH, name, 0);
	else if (loaded->state != LOADED_APPLIED)
		done = lucos_fail(failure, LUCOS_ERROR_NOT_APPLIED, name, 0);
	else
		done = roll_back(loaded, failure);
	mutex_unlock(&lucos_patches_lock);
	if (done)
		lucos_settle_soon();
	return done;
}

/* Takes back what can be; false when that was nothing. */
static bool roll_back_some(void)
{
	struct lucos_failure failure;
	struct loaded_patch *loaded;
	bool some = false;

	list_for_each_entry_reverse(loaded, &lucos_patches, link)
		if (loaded->state == LOADED_APPLIED &&
		    roll_back(loaded, &failure))
			some = true;
	return some;
}

bool lucos_patches_rollback_all(void)
{
	struct loaded_patch *loaded;
	bool none_left = true;

	mutex_lock(&lucos_patches_lock);
	/* A patch can stand on one that was loaded after it. */
	while (roll_back_some())
		;
	list_for_each_entry(loaded, &lucos_patches, link) {
		if (loaded->state != LOADED_APPLIED)
			continue;
		none_left = false;
		pr_warn("%s cannot be taken back\n", loaded->patch->name);
	}
	mutex_unlock(&lucos_patches_lock);
	return none_left;
}
