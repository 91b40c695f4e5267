/* SPDX-License-Identifier: GPL-2.0 */
/* Patches that come into force, or go, in one step. */
#ifndef LUCOS_MANAGER_STEP_H
#define LUCOS_MANAGER_STEP_H

#include <linux/types.h>

#include "failure.h"

struct loaded_patch;

/*
 * Puts patches in force, each on those before it, and calls their hooks. When a
 * hook fails, all of them are taken back. They are on probation for so many
 * seconds, 0 for none.
 */
bool lucos_step_apply(struct loaded_patch **patches, unsigned int count,
		      u32 probation, struct lucos_failure *failure);

/*
 * Calls the hooks of patches and takes these out of force, each before those
 * that it stands on or needs. When that fails, all of them are in force.
 */
bool lucos_step_rollback(struct loaded_patch **patches, unsigned int count,
			 struct lucos_failure *failure);

/*
 * LUCOS has withdrawn something, for an enum lucos_cause: finds out what is no
 * longer in force, and does what follows.
 */
void lucos_step_withdrawn(u32 cause);

#endif
