// SPDX-License-Identifier: GPL-2.0
/* What the kernel itself does with the bytes that a jump would replace. */
#include <linux/mutex.h>
#include <linux/preempt.h>

#include "symbols.h"
#include "window.h"

/* These checks take the address of the last byte, not of the one behind. */
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
	found = lucos_symbols.alternatives_text_reserved((void *)first,
							 (void *)last);
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
	else if (lucos_symbols.get_kprobe((void *)address))
		reason = LUCOS_REASON_KPROBE;
	preempt_enable();
	return reason;
}

bool lucos_window_site_reserved(unsigned long site)
{
	return has_jump_label(site, site) || has_static_call(site, site) ||
	       has_alternative(site, site);
}

enum lucos_window_reason lucos_window_reason(unsigned long site, bool is_slot)
{
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
	return LUCOS_REASON_NONE;
}
