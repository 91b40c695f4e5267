// SPDX-License-Identifier: GPL-2.0
/* Which bytes LUCOS may change, by what the kernel does with them itself. */
#include <linux/bits.h>

#include "fence.h"
#include "symbols.h"
#include "tables.h"
#include "window.h"

static u16 window_bits(const struct lucos_bytes *bytes, unsigned long site,
		       unsigned int size)
{
	return GENMASK(size - 1, 0) << (site - bytes->start);
}

bool lucos_window_site_reserved(const struct lucos_bytes *bytes,
				unsigned long site)
{
	return window_bits(bytes, site, 1) &
	       (bytes->jump_labels | bytes->static_calls | bytes->alternatives);
}

bool lucos_window_site_targeted(const struct lucos_bytes *bytes,
				unsigned long site)
{
	return window_bits(bytes, site, 1) & bytes->branches;
}

static bool has_ftrace_slot(unsigned long first, unsigned long last)
{
	return lucos_symbols.ftrace_text_reserved((void *)first, (void *)last);
}

static bool has_kprobe(unsigned long first, unsigned long last)
{
	unsigned long address;

	for (address = first; address <= last; address++)
		if (lucos_kprobe_at(address))
			return true;
	return false;
}

enum lucos_window_reason lucos_window_reason(const struct lucos_bytes *bytes,
					     unsigned long site, bool is_slot)
{
	u16 window = window_bits(bytes, site, LUCOS_JUMP_SIZE);
	u16 behind = window & ~window_bits(bytes, site, 1);
	unsigned long last = site + LUCOS_JUMP_SIZE - 1;

	if (bytes->jump_labels & window)
		return LUCOS_REASON_JUMP_LABEL;
	if (bytes->static_calls & window)
		return LUCOS_REASON_STATIC_CALL;
	if (bytes->alternatives & window)
		return LUCOS_REASON_ALTERNATIVE;
	if (!is_slot && has_ftrace_slot(site, last))
		return LUCOS_REASON_FTRACE_SLOT;
	if (bytes->exceptions & window)
		return LUCOS_REASON_EXCEPTION_TABLE;
	if (bytes->bugs & window)
		return LUCOS_REASON_BUG;
	if (has_kprobe(site, last))
		return LUCOS_REASON_KPROBE;
	/*
	 * LUCOS follows the branches that it finds in the text. These are not
	 * there: a jump label that is switched off, and where the kernel goes
	 * after a fault.
	 */
	if (bytes->branches & behind)
		return LUCOS_REASON_BRANCH;
	return LUCOS_REASON_NONE;
}
