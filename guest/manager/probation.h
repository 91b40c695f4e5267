/* SPDX-License-Identifier: GPL-2.0 */
/* Patches that are taken back by themselves when the kernel gets into trouble. */
#ifndef LUCOS_MANAGER_PROBATION_H
#define LUCOS_MANAGER_PROBATION_H

#include <linux/types.h>

#include "failure.h"

struct loaded_patch;

int lucos_probation_start(void);
void lucos_probation_stop(void);

/* Longest probation, in seconds. */
#define LUCOS_LONGEST_PROBATION (24 * 60 * 60)

/*
 * So many patches are to come into force on probation, if there is room. Trouble
 * from now on is theirs, once it is known that they are in force.
 */
bool lucos_probation_prepare(unsigned int count,
			     struct lucos_failure *failure);

/* A patch that is in force is on probation from now on, for so many seconds. */
void lucos_probation_begin(const struct loaded_patch *loaded, u32 seconds);

/* All of them are on probation now, or none is. */
void lucos_probation_settle(void);

/* A patch is no longer in force. */
void lucos_probation_end(const struct loaded_patch *loaded);

/* How many seconds of its probation are left, at least one; 0: it is on none. */
u32 lucos_probation_left(const struct loaded_patch *loaded);

#endif
