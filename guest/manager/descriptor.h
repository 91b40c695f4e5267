/* SPDX-License-Identifier: GPL-2.0 */
/* The descriptor that is handed to LUCOS. */
#ifndef LUCOS_MANAGER_DESCRIPTOR_H
#define LUCOS_MANAGER_DESCRIPTOR_H

#include "failure.h"

struct lucos_candidate;

/*
 * Makes the descriptor of a patch whose functions were judged. Gives memory to
 * be freed by kvfree, or NULL.
 */
struct lucos_descriptor_header *
lucos_descriptor_build(const struct lucos_patch *patch,
		       const struct lucos_candidate *candidates,
		       unsigned int count, u32 flags);

/*
 * Sets the bytes that must stand at the site: those of the patch's author, or
 * those that stand there now.
 */
bool lucos_descriptor_expect(const struct lucos_patch *patch,
			     struct lucos_function *function,
			     struct lucos_failure *failure);

/* A function that a patch replaces. */
const struct lucos_patch_function *
lucos_patch_function(const struct lucos_patch *patch, unsigned int index);

/* The numbers of entries in a patch's tables. */
unsigned int lucos_patch_functions(const struct lucos_patch *patch);
unsigned int lucos_patch_expectations(const struct lucos_patch *patch);
unsigned int lucos_patch_dependencies(const struct lucos_patch *patch);
unsigned int lucos_patch_data(const struct lucos_patch *patch);
unsigned int lucos_patch_shared(const struct lucos_patch *patch);
unsigned int lucos_patch_kept(const struct lucos_patch *patch);

#endif
