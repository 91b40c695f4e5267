// SPDX-License-Identifier: GPL-2.0
/* No ftrace slot, and a loop back to the first instruction. */
#include <lucos/patch.h>

LUCOS_REPLACE_NOINSTR(stpcpy, char *, char *to, const char *from)
{
	return to;
}

LUCOS_PATCH("branch_to_site", "replaces a function that is one loop");
