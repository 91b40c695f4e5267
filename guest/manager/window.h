/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel itself does with the bytes that a jump would replace. */
#ifndef LUCOS_MANAGER_WINDOW_H
#define LUCOS_MANAGER_WINDOW_H

#include <linux/module.h>
#include <linux/types.h>

#include <lucos/interface.h>

/*
 * Whether the kernel rewrites the byte at `site`, so that not even a trap may
 * stand there. Can sleep.
 */
bool lucos_window_site_reserved(unsigned long site);

/*
 * Whether a jump label of the owner (NULL: the kernel) leads to the site, even
 * when it is switched off, or the kernel goes there after a fault.
 */
bool lucos_window_site_targeted(const struct module *owner,
				unsigned long site);

/*
 * Why the five bytes from `site` may not become a jump, by the rules that the
 * kernel has for optimised probes; LUCOS_REASON_NONE if they may. `is_slot`:
 * they are the ftrace slot itself. Can sleep.
 */
enum lucos_window_reason lucos_window_reason(const struct module *owner,
					     unsigned long site, bool is_slot);

#endif
