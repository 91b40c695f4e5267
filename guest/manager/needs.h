/* SPDX-License-Identifier: GPL-2.0 */
/* Which patches cannot stay without which others. */
#ifndef LUCOS_MANAGER_NEEDS_H
#define LUCOS_MANAGER_NEEDS_H

#include "failure.h"

struct loaded_patch;

/*
 * Whether `later`, which came after `earlier` or is about to come, needs it: it
 * says so, or stands on its functions or values.
 */
bool lucos_needs(const struct loaded_patch *later,
		 const struct loaded_patch *earlier);

/*
 * Whether patches may come, in this order, as far as those on probation are
 * concerned: what needs one of them is withdrawn with it, and a patch with data
 * cannot be. The sites of all are known.
 */
bool lucos_needs_no_trial(struct loaded_patch *const *patches,
			  unsigned int count, struct lucos_failure *failure);

#endif
