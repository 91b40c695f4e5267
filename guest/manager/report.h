/* SPDX-License-Identifier: GPL-2.0 */
/* What the manager and LUCOS know, as JSON. */
#ifndef LUCOS_MANAGER_REPORT_H
#define LUCOS_MANAGER_REPORT_H

#include "failure.h"
#include "patches.h"
#include "reply.h"

/* Each appends one JSON object and a line feed, or fills `failure`. */
bool lucos_report_status(struct lucos_reply *reply,
			 struct lucos_failure *failure);
bool lucos_report_list(struct lucos_reply *reply,
		       struct lucos_failure *failure);
bool lucos_report_patch(struct lucos_reply *reply, const char *name,
			struct lucos_failure *failure);
bool lucos_report_log(struct lucos_reply *reply, struct lucos_failure *failure);

/*
 * What LUCOS says of the jumps of a patch, or NULL after filling `failure`. The
 * patch lock is held, and guards what is returned.
 */
const struct lucos_jump_status *
lucos_report_jumps(const struct loaded_patch *loaded,
		   struct lucos_failure *failure);

#endif
