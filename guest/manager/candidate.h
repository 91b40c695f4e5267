/* SPDX-License-Identifier: GPL-2.0 */
/* One function of a patch while it is judged. */
#ifndef LUCOS_MANAGER_CANDIDATE_H
#define LUCOS_MANAGER_CANDIDATE_H

#include <linux/types.h>

#include <lucos/interface.h>

#include "tables.h"

struct loaded_function;
struct lucos_fence;

struct lucos_candidate {
	const struct lucos_patch_function *wanted;
	struct loaded_function *known;
	struct lucos_function function;	/* as LUCOS will be told */
	unsigned long slot;		/* the ftrace slot, or 0 */
	struct lucos_bytes bytes;	/* from the slot, or the entry, on */
	u32 at_slot;	/* why the site is the slot: an error code; or 0 */
	/* Taken for this attempt: */
	struct lucos_fence *fence;
	bool holds_slot;
};

static inline unsigned long lucos_site_of(const struct lucos_function *function)
{
	return function->old_start + function->site_offset;
}

#endif
