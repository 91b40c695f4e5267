// SPDX-License-Identifier: GPL-2.0
/*
 * Where a function is redirected, and whether it may be.
 *
 * The site is the first instruction behind the ftrace slot; without a slot,
 * behind the ENDBR; without either, the entry.
 */
#include <linux/kallsyms.h>
#include <linux/string.h>

#include "candidate.h"
#include "fence.h"
#include "registry.h"
#include "site.h"
#include "slot.h"
#include "symbols.h"
#include "window.h"

#define ENDBR_SIZE 4
#define SLOT_SIZE 5

static const u8 endbr64[ENDBR_SIZE] = { 0xf3, 0x0f, 0x1e, 0xfa };
#ifdef CONFIG_X86_KERNEL_IBT
static const u8 sealed_endbr[ENDBR_SIZE] = { 0x66, 0x0f, 0x1f, 0x00 };
#endif

/* Takes a reference on the module that a function belongs to, if it does. */
static bool take_owner(const struct lucos_patch_function *wanted,
		       const struct module *patch_module, struct module **owner,
		       struct lucos_failure *failure)
{
	u32 error = LUCOS_ERROR_NOT_A_FUNCTION;
	struct module *module;

	if (lucos_symbols.core_kernel_text(wanted->old_start))
		return true;
	preempt_disable();
	module = lucos_symbols.module_text_address(wanted->old_start);
	if (module && module != patch_module) {
		error = LUCOS_ERROR_FUNCTION_UNLOADABLE;
		if (module->state == MODULE_STATE_LIVE &&
		    try_module_get(module))
			*owner = module;
	}
	preempt_enable();
	if (*owner)
		return true;
	return lucos_fail(failure, error, wanted->name, wanted->old_start);
}

/*
 * Whether a function of this name starts at the address. Several names can
 * share an address, so both directions are tried.
 */
static bool name_matches(const char *name, unsigned long address)
{
	char found[KSYM_SYMBOL_LEN];

	sprint_symbol_no_offset(found, address);
	/* The name of a module function is followed by " [module]". */
	strreplace(found, ' ', '\0');
	if (!strcmp(found, name))
		return true;
	return lucos_symbols.kallsyms_lookup_name(name) == address;
}

/* The size of the function that starts at an address, or 0. */
static u32 size_of(unsigned long address)
{
	unsigned long size, offset;

	if (!lucos_symbols.kallsyms_lookup_size_offset(address, &size,
						       &offset) ||
	    offset || size > U32_MAX)
		return 0;
	return size;
}

bool lucos_site_know(const struct lucos_patch_function *wanted,
		     const struct module *patch_module,
		     struct loaded_function *known,
		     struct lucos_failure *failure)
{
	if (known->new_size)
		return true;
	if (!wanted->old_start)
		return lucos_fail(failure, LUCOS_ERROR_NOT_LOADED_BY_LUCOS,
				  wanted->name, 0);
	if (!take_owner(wanted, patch_module, &known->owner, failure))
		return false;
	known->old_size = size_of(wanted->old_start);
	if (!known->old_size)
		return lucos_fail(failure, LUCOS_ERROR_NOT_A_FUNCTION,
				  wanted->name, wanted->old_start);
	if (!name_matches(wanted->name, wanted->old_start))
		return lucos_fail(failure, LUCOS_ERROR_SYMBOL_MISMATCH,
				  wanted->name, wanted->old_start);
	known->new_size = size_of(wanted->new_entry);
	if (!known->new_size)
		return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
				  wanted->name, wanted->new_entry);
	return true;
}

static unsigned int endbr_size(unsigned long address)
{
	if (!memcmp((void *)address, endbr64, ENDBR_SIZE))
		return ENDBR_SIZE;
#ifdef CONFIG_X86_KERNEL_IBT
	if (!memcmp((void *)address, sealed_endbr, ENDBR_SIZE))
		return ENDBR_SIZE;
#endif
	return 0;
}

/*
 * Why the site of a function is its slot and not the instruction behind it, as
 * an error code; 0 if it is not.
 */
static u32 why_at_slot(const struct lucos_candidate *candidate,
		       unsigned long behind)
{
	if (candidate->at_slot)
		return candidate->at_slot;
	/* A function that is redirected at its slot stays so for the next patch. */
	if (candidate->slot && lucos_registry_owns_site(candidate->slot))
		return LUCOS_ERROR_SITE_OWNED;
	if (lucos_window_site_reserved(&candidate->bytes, behind))
		return LUCOS_ERROR_SITE_RESERVED;
	if (lucos_window_site_targeted(&candidate->bytes, behind))
		return LUCOS_ERROR_BRANCH_TO_SITE;
	return 0;
}

/*
 * Chooses the site, which is the slot where the first instruction behind it is
 * taken, and says what speaks against it.
 */
static bool choose_site(struct lucos_candidate *candidate,
			struct lucos_failure *failure)
{
	const struct lucos_patch_function *wanted = candidate->wanted;
	struct lucos_function *function = &candidate->function;
	unsigned long slot = candidate->slot;
	unsigned long behind = candidate->bytes.start + (slot ? SLOT_SIZE : 0);
	unsigned long site;

	candidate->at_slot = why_at_slot(candidate, behind);
	if (candidate->at_slot && !slot)
		return lucos_fail(failure, candidate->at_slot, wanted->name,
				  behind);
	if (slot && !lucos_registry_owns_site(slot) &&
	    !lucos_slot_check(wanted->name, slot, candidate->at_slot, failure))
		return false;
	site = candidate->at_slot ? slot : behind;
	if (lucos_kprobe_at(site))
		return lucos_fail(failure, LUCOS_ERROR_KPROBE_AT_SITE,
				  wanted->name, site);
	if (site - wanted->old_start >= function->old_size)
		return lucos_fail(failure, LUCOS_ERROR_NOT_AT_ENTRY,
				  wanted->name, site);
	function->site_offset = site - wanted->old_start;
	if (slot)
		function->flags |= LUCOS_FUNCTION_FENTRY_SLOT;
	if (candidate->at_slot)
		function->flags |= LUCOS_FUNCTION_SITE_IS_SLOT;
	return true;
}

/*
 * Where nothing is traced or probed, a tracer could call itself through the new
 * function, or run before the kernel's state allows it.
 */
static bool is_quiet_enough(const struct lucos_candidate *candidate,
			    struct lucos_failure *failure)
{
	const struct lucos_patch_function *wanted = candidate->wanted;
	unsigned long new_entry = wanted->new_entry;

	if (!candidate->slot && lucos_symbols.ftrace_location(new_entry))
		goto loud;
	/* Where a patch of ours stands at the entry, its own fence is seen. */
	if (!lucos_registry_owns_site(wanted->old_start) &&
	    lucos_symbols.within_kprobe_blacklist(wanted->old_start) &&
	    !lucos_symbols.within_kprobe_blacklist(new_entry))
		goto loud;
	return true;
loud:
	return lucos_fail(failure, LUCOS_ERROR_NOT_NOINSTR, wanted->name,
			  wanted->old_start);
}

static void judge_window(struct lucos_candidate *candidate)
{
	struct lucos_function *function = &candidate->function;

	if (function->old_size - function->site_offset < LUCOS_JUMP_SIZE)
		function->reason = LUCOS_REASON_TOO_SHORT;
	else
		function->reason =
			lucos_window_reason(&candidate->bytes,
					    lucos_site_of(function),
					    candidate->at_slot);
	if (function->reason != LUCOS_REASON_NONE)
		function->flags |= LUCOS_FUNCTION_NO_JUMP;
}

bool lucos_site_find(struct lucos_candidate *candidate,
		     struct lucos_failure *failure)
{
	const struct lucos_patch_function *wanted = candidate->wanted;
	unsigned long start = wanted->old_start + endbr_size(wanted->old_start);

	candidate->slot = lucos_symbols.ftrace_location(wanted->old_start);
	if (candidate->slot && candidate->slot != start)
		return lucos_fail(failure, LUCOS_ERROR_NOT_AT_ENTRY,
				  wanted->name, candidate->slot);
	lucos_tables_look(&candidate->bytes, candidate->known->owner, start);
	return true;
}

bool lucos_site_judge(struct lucos_candidate *candidate,
		      struct lucos_failure *failure)
{
	const struct lucos_patch_function *wanted = candidate->wanted;

	candidate->function = (struct lucos_function) {
		.old_start = wanted->old_start,
		.old_size = candidate->known->old_size,
		.new_entry = wanted->new_entry,
		.new_size = candidate->known->new_size,
	};
	memcpy(candidate->function.name, wanted->name,
	       sizeof(candidate->function.name));
	if (!choose_site(candidate, failure) ||
	    !is_quiet_enough(candidate, failure))
		return false;
	judge_window(candidate);
	return true;
}
