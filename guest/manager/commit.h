/* SPDX-License-Identifier: GPL-2.0 */
/* When the data of an update is moved: in a clear moment, or with guards. */
#ifndef LUCOS_MANAGER_COMMIT_H
#define LUCOS_MANAGER_COMMIT_H

#include "versions.h"

struct lucos_commit {
	struct loaded_patch *const *patches;
	unsigned int count;
	enum lucos_direction to;
	/* Asks LUCOS; only if nobody is inside the code that is left, or anyway. */
	bool (*ask)(void *context, bool clear_only,
		    struct lucos_failure *failure);
	void *context;
};

/*
 * Has LUCOS asked until the patches are applied or taken back. With data it is
 * tried a few times whether nobody is inside the code that is left; then writes
 * to the data are guarded until nobody is. Where that must not be, the failure is
 * OCCUPIED and names who is inside. Sleeps.
 */
bool lucos_commit(const struct lucos_commit *commit,
		  struct lucos_failure *failure);

#endif
