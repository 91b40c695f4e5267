/* SPDX-License-Identifier: GPL-2.0 */
/* Twins of objects that the kernel makes and frees, whose state is carried. */
#ifndef LUCOS_MANAGER_CARRIED_H
#define LUCOS_MANAGER_CARRIED_H

#include <linux/types.h>

#include "failure.h"
#include "versions.h"

/*
 * Gives each version of a patch that has instances an empty table, before the
 * patch is applied for the first time; or takes them away. Sleeps.
 */
bool lucos_carried_tables_make(struct loaded_patch *loaded,
			       struct lucos_failure *failure);
void lucos_carried_tables_free(struct loaded_patch *loaded);

/* How many objects there are. Takes the author's lock for it. Sleeps. */
unsigned int lucos_carried_objects(struct lucos_version *version);

/* Has so many twins ready. Sleeps. */
bool lucos_carried_reserve(struct lucos_version *version, unsigned int count);

/* Frees those that were not needed. */
void lucos_carried_unreserve(struct lucos_version *version);

/*
 * Lists the pairs, with the author's lock. Before new code comes into force every
 * object gets a twin; before it goes, those that have one are listed, and no
 * other gets one any more until LUCOS has answered. False when there are too few
 * twins, or too little room.
 */
bool lucos_carried_list(struct lucos_version *version,
			struct lucos_lists *lists, enum lucos_direction to);

/* LUCOS has given the patch this number. */
void lucos_carried_answered(struct lucos_version *version, u32 number);

/* The manager knows which sides live: objects get twins again. */
void lucos_carried_open(struct lucos_version *version);

/* LUCOS carries nothing any more: twins that had to stay for it go. Sleeps. */
void lucos_carried_settled(struct lucos_version *version);

/* Drops the twins of objects that are gone. Takes the author's lock. Sleeps. */
void lucos_carried_reconcile(struct lucos_version *version);

/* How many objects have a twin. */
unsigned long lucos_carried_count(const struct lucos_version *version);

/* Drops all twins. Nobody is in new code, and nothing is guarded. Sleeps. */
void lucos_carried_drop_all(struct lucos_version *version);

#endif
