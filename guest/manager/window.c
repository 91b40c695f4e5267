// SPDX-License-Identifier: GPL-2.0
/* What the kernel itself does with the bytes that a jump would replace. */
#include <linux/extable.h>
#include <linux/jump_label.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>

#include "fence.h"
#include "symbols.h"
#include "window.h"

/* These checks take the address of the last byte, but for one of them. */
static bool has_jump_label(unsigned long first, unsigned long last)
{
	bool found;

	lucos_symbols.jump_label_lock();
	found = lucos_symbols.jump_label_text_reserved((void *)first,
						       (void *)last);
	lucos_symbols.jump_label_unlock();
	return found;
}

static bool has_static_call(unsigned long first, unsigned long last)
{
	bool found;

	preempt_disable();
	found = lucos_symbols.static_call_text_reserved((void *)first,
							(void *)last);
	preempt_enable();
	return found;
}

static bool has_alternative(unsigned long first, unsigned long last)
{
	bool found;

	mutex_lock(lucos_symbols.text_mutex);
	/* That one takes the address behind the last byte. */
	found = lucos_symbols.alternatives_text_reserved((void *)first,
							 (void *)(last + 1));
	mutex_unlock(lucos_symbols.text_mutex);
	return found;
}

static bool has_ftrace_slot(unsigned long first, unsigned long last)
{
	return lucos_symbols.ftrace_text_reserved((void *)first, (void *)last);
}

/* The table lookups take one address each; an instruction may start at any. */
static enum lucos_window_reason table_reason(unsigned long address)
{
	enum lucos_window_reason reason = LUCOS_REASON_NONE;

	preempt_disable();
	if (lucos_symbols.search_exception_tables(address))
		reason = LUCOS_REASON_EXCEPTION_TABLE;
	else if (lucos_symbols.find_bug(address))
		reason = LUCOS_REASON_BUG;
	else if (lucos_kprobe_at(address))
		reason = LUCOS_REASON_KPROBE;
	preempt_enable();
	return reason;
}

/* An inclusive range of addresses. */
struct span {
	unsigned long first;
	unsigned long last;
};

static bool contains(const struct span *range, unsigned long address)
{
	return range->first <= address && address <= range->last;
}

/* Whether a jump label leads into the range, switched on or off. */
static bool has_label_target(const struct jump_entry *entry,
			     const struct jump_entry *end,
			     const struct span *range)
{
#ifdef CONFIG_JUMP_LABEL
	for (; entry < end; entry++)
		if (contains(range, jump_entry_target(entry)))
			return true;
#endif
	return false;
}

/* Whether the kernel goes on in the range after a fault that it expects. */
static bool has_fixup(const struct exception_table_entry *entry,
		      const struct exception_table_entry *end,
		      const struct span *range)
{
	for (; entry < end; entry++)
		if (contains(range, (unsigned long)&entry->fixup +
				    entry->fixup))
			return true;
	return false;
}

static bool module_leads_to(const struct module *module,
			    const struct span *range)
{
#ifdef CONFIG_JUMP_LABEL
	if (has_label_target(module->jump_entries,
			     module->jump_entries + module->num_jump_entries,
			     range))
		return true;
#endif
	return has_fixup(module->extable,
			 module->extable + module->num_exentries, range);
}

static bool tables_are_known(void)
{
#ifdef CONFIG_JUMP_LABEL
	if (!lucos_symbols.jump_table || !lucos_symbols.jump_table_end)
		return false;
#endif
	return lucos_symbols.exception_table &&
	       lucos_symbols.exception_table_end;
}

/*
 * LUCOS follows the branches that it finds in the text. These are not there:
 * a jump label that is switched off, and where the kernel goes after a fault.
 */
static enum lucos_window_reason hidden_branch(const struct module *owner,
					      struct span range)
{
	bool found;

	if (owner)
		found = module_leads_to(owner, &range);
	else if (tables_are_known())
		found = has_label_target(lucos_symbols.jump_table,
					 lucos_symbols.jump_table_end,
					 &range) ||
			has_fixup(lucos_symbols.exception_table,
				  lucos_symbols.exception_table_end, &range);
	else
		return LUCOS_REASON_UNKNOWN;
	return found ? LUCOS_REASON_BRANCH : LUCOS_REASON_NONE;
}

bool lucos_window_site_targeted(const struct module *owner, unsigned long site)
{
	struct span range = { site, site };

	return hidden_branch(owner, range) == LUCOS_REASON_BRANCH;
}

bool lucos_window_site_reserved(unsigned long site)
{
	return has_jump_label(site, site) || has_static_call(site, site) ||
	       has_alternative(site, site);
}

enum lucos_window_reason lucos_window_reason(const struct module *owner,
					     unsigned long site, bool is_slot)
{
	struct span behind = { site + 1, site + LUCOS_JUMP_SIZE - 1 };
	unsigned long last = site + LUCOS_JUMP_SIZE - 1;
	unsigned long address;

	if (has_jump_label(site, last))
		return LUCOS_REASON_JUMP_LABEL;
	if (has_static_call(site, last))
		return LUCOS_REASON_STATIC_CALL;
	if (has_alternative(site, last))
		return LUCOS_REASON_ALTERNATIVE;
	if (!is_slot && has_ftrace_slot(site, last))
		return LUCOS_REASON_FTRACE_SLOT;
	for (address = site; address <= last; address++) {
		enum lucos_window_reason reason = table_reason(address);

		if (reason != LUCOS_REASON_NONE)
			return reason;
	}
	return hidden_branch(owner, behind);
}
