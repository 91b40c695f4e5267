/* SPDX-License-Identifier: GPL-2.0 */
/* The values of a patch: bytes of the kernel's objects that it changes. */
#ifndef LUCOS_MANAGER_VALUES_H
#define LUCOS_MANAGER_VALUES_H

#include <linux/module.h>

#include <lucos/interface.h>

#include "failure.h"

/* Whether the records of a patch's values are well-formed. */
bool lucos_values_check(const struct lucos_patch *patch,
			const struct module *module,
			struct lucos_failure *failure);

/* The number of values that LUCOS is told of: one has at most 16 bytes. */
unsigned int lucos_values_count(const struct lucos_patch *patch);

/* Fills in so many records. */
void lucos_values_fill(const struct lucos_patch *patch,
		       struct lucos_value *values);

/* Whether two patches change the same bits. */
bool lucos_values_meet(const struct lucos_patch *a,
		       const struct lucos_patch *b);

/* Copies the name of one of these records, if there are so many. */
void lucos_values_name(const struct lucos_patch *patch, unsigned int index,
		       char name[LUCOS_NAME_SIZE]);

/*
 * Whether a new value leads into the module itself. Then an address in it that
 * is found on a stack may have been read out of there, and is a call that is
 * still to come.
 */
bool lucos_values_publish(const struct lucos_patch *patch,
			  const struct module *module);

#endif
