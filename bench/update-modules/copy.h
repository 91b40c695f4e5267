/* SPDX-License-Identifier: GPL-2.0 */
/* memcpy() that counts its calls, roughly. */
#include <linux/moduleparam.h>
#include <linux/types.h>

static unsigned long calls;
module_param(calls, ulong, 0444);

static __always_inline void *count_and_copy(void *to, const void *from, size_t size)
{
	void *end = to;

	WRITE_ONCE(calls, READ_ONCE(calls) + 1);
	asm volatile("rep movsb"
		     : "+D"(end), "+S"(from), "+c"(size)
		     :
		     : "memory");
	return to;
}
