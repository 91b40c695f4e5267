/* SPDX-License-Identifier: GPL-2.0 */
/* What the manager and LUCOS know, as records. */
#ifndef LUCOS_MANAGER_TELL_H
#define LUCOS_MANAGER_TELL_H

#include "answer.h"
#include "failure.h"

struct loaded_patch;

/* Each appends records to an answer, or fills `failure`. */
bool lucos_tell_status(struct lucos_answer *answer,
		       struct lucos_failure *failure);
void lucos_tell_list(struct lucos_answer *answer);
bool lucos_tell_patch(struct lucos_answer *answer, const char *name,
		      struct lucos_failure *failure);
/* Appends the values of a rolled back patch that stay, and cannot fail. */
void lucos_tell_left(struct lucos_answer *answer,
		     const struct loaded_patch *loaded);
bool lucos_tell_log(struct lucos_answer *answer, struct lucos_failure *failure);

#endif
