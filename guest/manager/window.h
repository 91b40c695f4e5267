/* SPDX-License-Identifier: GPL-2.0 */
/* Which bytes LUCOS may change, by what the kernel does with them itself. */
#ifndef LUCOS_MANAGER_WINDOW_H
#define LUCOS_MANAGER_WINDOW_H

#include <linux/types.h>

#include <lucos/interface.h>

struct lucos_bytes;

/*
 * Whether the kernel rewrites the byte at `site`, so that not even a trap may
 * stand there.
 */
bool lucos_window_site_reserved(const struct lucos_bytes *bytes,
				unsigned long site);

/*
 * Whether a jump label leads to the site, even when it is switched off, or the
 * kernel goes there after a fault.
 */
bool lucos_window_site_targeted(const struct lucos_bytes *bytes,
				unsigned long site);

/*
 * Why the five bytes from `site` may not become a jump, by the rules that the
 * kernel has for optimised probes; LUCOS_REASON_NONE if they may. `is_slot`:
 * they are the ftrace slot itself. All five are among `bytes`. The kprobe lock
 * is held.
 */
enum lucos_window_reason lucos_window_reason(const struct lucos_bytes *bytes,
					     unsigned long site, bool is_slot);

#endif
