/* SPDX-License-Identifier: GPL-2.0 */
/* The pairs of a data version in the order in which LUCOS reads them. */
#ifndef LUCOS_MANAGER_LISTS_H
#define LUCOS_MANAGER_LISTS_H

#include <linux/types.h>

#include "versions.h"

/* Makes room for so many pairs, and empties the lists. Sleeps. */
bool lucos_lists_make(struct lucos_lists *lists,
		      const struct lucos_version *version,
		      unsigned int capacity);

/* Frees them; LUCOS does not use them any more, nor does an upcall. */
void lucos_lists_free(struct lucos_lists *lists);

/* Adds a pair; false when there is no room. */
bool lucos_lists_add(struct lucos_lists *lists, const void *object,
		     const void *twin);

/* All pairs are there: sorts them. Can be called under any lock. */
void lucos_lists_finish(struct lucos_lists *lists);

#endif
