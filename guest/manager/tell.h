/* SPDX-License-Identifier: GPL-2.0 */
/* What the manager and LUCOS know, as records. */
#ifndef LUCOS_MANAGER_TELL_H
#define LUCOS_MANAGER_TELL_H

#include "answer.h"
#include "failure.h"

/* Each appends records to an answer, or fills `failure`. */
bool lucos_tell_status(struct lucos_answer *answer,
		       struct lucos_failure *failure);
void lucos_tell_list(struct lucos_answer *answer);
bool lucos_tell_patch(struct lucos_answer *answer, const char *name,
		      struct lucos_failure *failure);
bool lucos_tell_log(struct lucos_answer *answer, struct lucos_failure *failure);

#endif
