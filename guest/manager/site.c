// SPDX-License-Identifier: GPL-2.0
/*
 * Where a function is redirected, and whether it may be.
 *
 * The site is the first instruction behind the ftrace slot; without a slot,
 * behind the ENDBR; without either, the entry.
 */
#include <linux/kallsyms.h>
#include <linux/string.h>

#include "fence.h"
#include "patches.h"
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

static bool find_size(const struct lucos_patch_function *wanted,
		      struct lucos_function *function,
		      struct lucos_failure *failure)
{
	unsigned long size, offset;

	if (!lucos_symbols.kallsyms_lookup_size_offset(wanted->old_start, &size,
						       &offset) ||
	    offset || !size || size > U32_MAX)
		return lucos_fail(failure, LUCOS_ERROR_NOT_A_FUNCTION,
				  wanted->name, wanted->old_start);
	if (!name_matches(wanted->name, wanted->old_start))
		return lucos_fail(failure, LUCOS_ERROR_SYMBOL_MISMATCH,
				  wanted->name, wanted->old_start);
	function->old_size = size;
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

/* What holds for a site wherever it is. */
static bool finish_site(const struct lucos_patch_function *wanted,
			unsigned long site, u32 at_slot,
			struct lucos_function *function,
			struct lucos_failure *failure)
{
	unsigned long start = wanted->old_start;

	if (lucos_kprobe_at(site))
		return lucos_fail(failure, LUCOS_ERROR_KPROBE_AT_SITE,
				  wanted->name, site);
	if (site - start >= function->old_size)
		return lucos_fail(failure, LUCOS_ERROR_NOT_AT_ENTRY,
				  wanted->name, site);
	if (at_slot)
		function->flags |= LUCOS_FUNCTION_SITE_IS_SLOT;
	function->site_offset = site - start;
	return true;
}

/*
 * Chooses the site and says what speaks against it. Where the first instruction
 * behind the slot is taken, the slot is tried.
 */
static bool choose_site(const struct lucos_patch_function *wanted,
			const struct module *owner, u32 *at_slot,
			struct lucos_function *function,
			struct lucos_failure *failure)
{
	unsigned long start = wanted->old_start;
	unsigned int entry = endbr_size(start);
	unsigned long slot = lucos_symbols.ftrace_location(start);
	unsigned long site = start + entry;

	/* A function that is redirected at its slot stays so for the next patch. */
	if (!*at_slot && slot && lucos_patches_own_site(slot))
		*at_slot = LUCOS_ERROR_SITE_OWNED;
	if (slot && slot != start + entry)
		return lucos_fail(failure, LUCOS_ERROR_NOT_AT_ENTRY,
				  wanted->name, slot);
	if (*at_slot && !slot)
		return lucos_fail(failure, *at_slot, wanted->name, site);
	if (slot) {
		if (!lucos_patches_own_site(slot) &&
		    !lucos_slot_check(wanted->name, slot, *at_slot, failure))
			return false;
		function->flags |= LUCOS_FUNCTION_FENTRY_SLOT;
		if (!*at_slot)
			site += SLOT_SIZE;
	}
	if (!*at_slot && lucos_window_site_reserved(site))
		*at_slot = LUCOS_ERROR_SITE_RESERVED;
	else if (!*at_slot && lucos_window_site_targeted(owner, site))
		*at_slot = LUCOS_ERROR_BRANCH_TO_SITE;
	else
		return finish_site(wanted, site, *at_slot, function, failure);
	return choose_site(wanted, owner, at_slot, function, failure);
}

/*
 * Where nothing is traced or probed, a tracer could call itself through the new
 * function, or run before the kernel's state allows it.
 */
static bool is_quiet_enough(const struct lucos_patch_function *wanted,
			    bool old_is_traced, struct lucos_failure *failure)
{
	unsigned long new_entry = wanted->new_entry;

	if (!old_is_traced && lucos_symbols.ftrace_location(new_entry))
		goto loud;
	/* Where a patch of ours stands at the entry, its own fence is seen. */
	if (!lucos_patches_own_site(wanted->old_start) &&
	    lucos_symbols.within_kprobe_blacklist(wanted->old_start) &&
	    !lucos_symbols.within_kprobe_blacklist(new_entry))
		goto loud;
	return true;
loud:
	return lucos_fail(failure, LUCOS_ERROR_NOT_NOINSTR, wanted->name,
			  wanted->old_start);
}

static void judge_window(const struct module *owner,
			 struct lucos_function *function)
{
	unsigned long site = function->old_start + function->site_offset;
	bool is_slot = function->flags & LUCOS_FUNCTION_SITE_IS_SLOT;

	if (function->old_size - function->site_offset < LUCOS_JUMP_SIZE)
		function->reason = LUCOS_REASON_TOO_SHORT;
	else
		function->reason = lucos_window_reason(owner, site, is_slot);
	if (function->reason != LUCOS_REASON_NONE)
		function->flags |= LUCOS_FUNCTION_NO_JUMP;
}

bool lucos_site_judge(const struct lucos_patch_function *wanted,
		      const struct module *patch_module, u32 *at_slot,
		      struct lucos_function *function, struct module **owner,
		      struct lucos_failure *failure)
{
	*owner = NULL;
	if (!wanted->old_start)
		return lucos_fail(failure, LUCOS_ERROR_NOT_LOADED_BY_LUCOS,
				  wanted->name, 0);
	if (!take_owner(wanted, patch_module, owner, failure))
		return false;
	function->old_start = wanted->old_start;
	memcpy(function->name, wanted->name, sizeof(function->name));
	if (!find_size(wanted, function, failure) ||
	    !choose_site(wanted, *owner, at_slot, function, failure) ||
	    !is_quiet_enough(wanted,
			     function->flags & LUCOS_FUNCTION_FENTRY_SLOT,
			     failure)) {
		module_put(*owner);
		*owner = NULL;
		return false;
	}
	judge_window(*owner, function);
	return true;
}
