/* SPDX-License-Identifier: GPL-2.0 */
/* The end of guards: nobody is inside the code any more that an update left. */
#ifndef LUCOS_MANAGER_DRAIN_H
#define LUCOS_MANAGER_DRAIN_H

#include <linux/types.h>

struct loaded_patch;

/* Whether old code is waited for, or new code, because data is guarded. */
bool lucos_drain_waits_for_old(const struct loaded_patch *loaded);
bool lucos_drain_waits_for_new(const struct loaded_patch *loaded);

/*
 * Makes the patch know the ranges of its old code, if that is waited for. Gives
 * how many there are, 0 without memory. Sleeps.
 */
unsigned int lucos_drain_ranges(struct loaded_patch *loaded);

/*
 * Nobody is in the old code, or in the new code, and nobody can enter it: its
 * data becomes one-sided, and nothing is guarded for it any more. False when
 * LUCOS cannot do that now. Sleeps, takes the authors' locks.
 */
bool lucos_drain_old(struct loaded_patch *loaded);
bool lucos_drain_new(struct loaded_patch *loaded);

#endif
