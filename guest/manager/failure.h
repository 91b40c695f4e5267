/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a function says that something went wrong: it gives false and has filled
 * in a struct lucos_failure, which can be shown. Where the kernel asks for an
 * errno, it gives one, after a message.
 */
#ifndef LUCOS_MANAGER_FAILURE_H
#define LUCOS_MANAGER_FAILURE_H

#include <linux/string.h>
#include <linux/types.h>

#include <lucos/interface.h>

/*
 * Fills in a failure: an error code, the function, module or patch at fault or
 * NULL, an address or number or 0. Always gives false, so that checks can
 * return it.
 */
static inline bool lucos_fail(struct lucos_failure *failure, u32 code,
			      const char *subject, u64 detail)
{
	*failure = (struct lucos_failure) {
		.code = code,
		.detail = detail,
	};
	if (subject)
		strscpy(failure->subject, subject, sizeof(failure->subject));
	return false;
}

#endif
