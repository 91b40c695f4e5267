// SPDX-License-Identifier: GPL-2.0
/* The count becomes wider, when nobody is inside. */
#include <lucos/version.h>

#include "leaving_target.h"

struct count {
	u64 left;
};

static struct count count LUCOS_TWIN_VARIABLE;

LUCOS_DATA(clear_count, leaving_count, count);
LUCOS_CLEAR_ONLY(clear_count);
LUCOS_TO_NEW(clear_count) { new->left = *old; }
LUCOS_TO_OLD(clear_count) { *old = new->left; }

LUCOS_REPLACE(leaving_stay, void, void)
{
	leaving_wait();
	count.left++;
}

LUCOS_REPLACE(leaving_cold, int, int seldom)
{
	if (seldom) {
		leaving_wait();
		count.left += 10;
	}
	return count.left;
}

LUCOS_PATCH("leaving_clear", "counts in more bits, when nobody counts");
