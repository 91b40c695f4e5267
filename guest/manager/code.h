/* SPDX-License-Identifier: GPL-2.0 */
/* The code that an update leaves: what a patch replaces, or what it is. */
#ifndef LUCOS_MANAGER_CODE_H
#define LUCOS_MANAGER_CODE_H

#include <linux/types.h>

#include "look.h"

struct loaded_patch;

struct lucos_code {
	unsigned int count;
	unsigned int capacity;
	struct lucos_range *ranges;
};

/*
 * Adds what calls of the replaced functions lead to without the patch: these
 * functions behind their entries, their parts that the compiler has put
 * elsewhere, and the code of patches that stand below. Gives 0 or an errno;
 * what was added is to be freed in both cases. Sleeps.
 */
int lucos_code_add_old(struct lucos_code *code,
		       const struct loaded_patch *loaded);

/*
 * Adds the patch's own code, and the sites that lead to it: a processor that
 * LUCOS holds there may be on its way.
 */
int lucos_code_add_new(struct lucos_code *code,
		       const struct loaded_patch *loaded);

void lucos_code_free(struct lucos_code *code);

/* Whether one of two patches stands on the other. */
bool lucos_share_site(const struct loaded_patch *a,
		      const struct loaded_patch *b);

#endif
