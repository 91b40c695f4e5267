// SPDX-License-Identifier: GPL-2.0
/* No kernel has this function. */
#include <lucos/patch.h>

LUCOS_REPLACE(a_function_of_no_kernel, int, void)
{
	return 0;
}

LUCOS_PATCH("unknown", "replaces nothing that there is");
