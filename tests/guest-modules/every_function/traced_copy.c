// SPDX-License-Identifier: GPL-2.0
/* An ordinary function in place of one that must be noinstr. */
#include <linux/types.h>

#include <lucos/patch.h>

LUCOS_REPLACE(memcpy, void *, void *to, const void *from, size_t size)
{
	void *end = to;

	asm volatile("rep movsb"
		     : "+D"(end), "+S"(from), "+c"(size)
		     :
		     : "memory");
	return to;
}

LUCOS_PATCH("traced_copy", "replaces memcpy by a function that can be traced");
