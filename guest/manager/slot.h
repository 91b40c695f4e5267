/* SPDX-License-Identifier: GPL-2.0 */
/* Who else uses the ftrace slot of a function. */
#ifndef LUCOS_MANAGER_SLOT_H
#define LUCOS_MANAGER_SLOT_H

#include <linux/types.h>

#include "failure.h"

struct dyn_ftrace;

/*
 * Whether the slot is as it must be for a redirection behind it or, with
 * `at_slot`, in its place. Can sleep.
 */
bool lucos_slot_check(const char *name, unsigned long slot, bool at_slot,
		      struct lucos_failure *failure);

/*
 * Whether something that uses the slot in front of this site, such as the
 * kernel's own livepatch, leads calls elsewhere. Can sleep.
 */
bool lucos_slot_overrides(unsigned long site);

/*
 * Keeps ftrace away from a slot that becomes a site: it would take the bytes
 * there for an error of its own and switch itself off. From then on the function
 * is not traced. False, after filling `failure`, when the slot is in use.
 *
 * `record` is where the caller keeps ftrace's record of the slot, NULL as long
 * as it was not needed. It stays what it is while the function's module stays.
 */
bool lucos_slot_hold(const char *name, unsigned long slot,
		     struct dyn_ftrace **record, struct lucos_failure *failure);

/*
 * Gives a slot back whose bytes are the kernel's again. While a tracer is
 * active ftrace's accounts leave no way: the function stays untraced.
 */
void lucos_slot_release(struct dyn_ftrace *record);

#endif
