/* SPDX-License-Identifier: GPL-2.0 */
/* The twins of a patch: state that it keeps beside objects of the kernel. */
#ifndef LUCOS_MANAGER_TWINS_H
#define LUCOS_MANAGER_TWINS_H

#include <linux/types.h>

#include "failure.h"

struct loaded_patch;
struct lucos_patch;
struct lucos_twins;
struct module;

/* Whether every kind of a patch whose tables are valid is well-formed. */
bool lucos_twins_check(const struct lucos_patch *patch,
		       const struct module *module,
		       struct lucos_failure *failure);

/* The kinds of twins of a patch, and one of them. */
unsigned int lucos_twins_kinds(const struct loaded_patch *loaded);
struct lucos_twins *lucos_twins_kind(const struct loaded_patch *loaded,
				     unsigned int index);

/*
 * Gives each kind an empty table, before the patch is applied for the first
 * time; or takes them away, with what is in them. Sleeps.
 */
bool lucos_twin_tables_make(struct loaded_patch *loaded,
		       struct lucos_failure *failure);
void lucos_twin_tables_free(struct loaded_patch *loaded);

/* Whether there is a twin of any kind. */
bool lucos_twins_any(const struct loaded_patch *loaded);

/* Drops all twins. Nobody is in the patch's code. */
void lucos_twins_drop_all(struct loaded_patch *loaded);

/* How many twins of a kind there are now. */
unsigned long lucos_twins_count(const struct lucos_twins *twins);

#endif
