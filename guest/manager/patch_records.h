/* SPDX-License-Identifier: GPL-2.0 */
/* The records in which a patch module says what it is. */
#ifndef LUCOS_MANAGER_PATCH_RECORDS_H
#define LUCOS_MANAGER_PATCH_RECORDS_H

#include <linux/module.h>

#include <lucos/interface.h>

#include "failure.h"

/* Whether they are well-formed; everything below is for those that are. */
bool lucos_patch_check(const struct lucos_patch *patch,
		       const struct module *module,
		       struct lucos_failure *failure);

/*
 * Copies the name of the function, value, data version or dependency that LUCOS
 * means by an item; nothing when it means none of them.
 */
void lucos_patch_name_item(const struct lucos_patch *patch, u32 item,
			   char name[LUCOS_NAME_SIZE]);

/* A function that a patch replaces. */
const struct lucos_patch_function *
lucos_patch_function(const struct lucos_patch *patch, unsigned int index);

/* The numbers of entries in a patch's tables. */
unsigned int lucos_patch_functions(const struct lucos_patch *patch);
unsigned int lucos_patch_expectations(const struct lucos_patch *patch);
unsigned int lucos_patch_dependencies(const struct lucos_patch *patch);
unsigned int lucos_patch_values(const struct lucos_patch *patch);
unsigned int lucos_patch_kept(const struct lucos_patch *patch);
unsigned int lucos_patch_twins(const struct lucos_patch *patch);
unsigned int lucos_patch_versions(const struct lucos_patch *patch);
unsigned int lucos_patch_shared(const struct lucos_patch *patch);

#endif
