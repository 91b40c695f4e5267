/* SPDX-License-Identifier: GPL-2.0 */
/* The descriptor that is handed to LUCOS. */
#ifndef LUCOS_MANAGER_DESCRIPTOR_H
#define LUCOS_MANAGER_DESCRIPTOR_H

#include <linux/types.h>

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

#endif
