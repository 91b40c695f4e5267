// SPDX-License-Identifier: GPL-2.0
#include <lucos/patch.h>

#include "copy.h"

LUCOS_REPLACE_NOINSTR(memcpy, void *, void *to, const void *from, size_t size)
{
	return count_and_copy(to, from, size);
}

LUCOS_PATCH("copy_lucos", "counts the calls of memcpy");
