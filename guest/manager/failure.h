/* SPDX-License-Identifier: GPL-2.0 */
/* What went wrong, in a form that can be shown. */
#ifndef LUCOS_MANAGER_FAILURE_H
#define LUCOS_MANAGER_FAILURE_H

#include <linux/string.h>
#include <linux/types.h>

#include <lucos/interface.h>

struct lucos_failure {
	u32 code;			/* enum lucos_error, 0: nothing */
	u64 detail;			/* address or number, 0: none */
	char subject[LUCOS_NAME_SIZE];	/* function, module ..., may be empty */
};

/* Fills in a failure; always gives false, so that checks can return it. */
static inline bool lucos_fail(struct lucos_failure *failure, u32 code,
			      const char *subject, u64 detail)
{
	failure->code = code;
	failure->detail = detail;
	strscpy(failure->subject, subject ? subject : "",
		sizeof(failure->subject));
	return false;
}

#endif
