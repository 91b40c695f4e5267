/* SPDX-License-Identifier: GPL-2.0 */
/* The descriptors that are handed to LUCOS. */
#ifndef LUCOS_MANAGER_DESCRIPTOR_H
#define LUCOS_MANAGER_DESCRIPTOR_H

#include <linux/types.h>

#include "failure.h"

struct loaded_patch;
struct lucos_candidate;

/*
 * Makes the descriptor of a patch whose functions were judged. Gives memory to
 * be freed by kvfree, or NULL after filling `failure`.
 */
struct lucos_descriptor_header *
lucos_descriptor_build(const struct loaded_patch *loaded,
		       const struct lucos_candidate *candidates, u32 flags,
		       struct lucos_failure *failure);

/*
 * Makes a group of descriptors and sets its length. Gives memory to be freed by
 * kvfree, or NULL.
 */
void *lucos_descriptor_join(struct lucos_descriptor_header **descriptors,
			    unsigned int count, size_t *length);

/* The descriptor number `index` of the `count` that are handed over. */
struct lucos_descriptor_header *lucos_descriptor_member(void *bytes,
							unsigned int count,
							unsigned int index);

/* Fills in the data versions, whose pairs are listed since the last moment. */
void lucos_descriptor_add_pairs(struct lucos_descriptor_header *header,
				const struct loaded_patch *loaded);

/*
 * Sets the bytes that must stand at the site: those of the patch's author, or
 * those that stand there now.
 */
bool lucos_descriptor_expect(const struct lucos_patch *patch,
			     struct lucos_function *function,
			     struct lucos_failure *failure);

#endif
