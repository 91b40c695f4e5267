// SPDX-License-Identifier: GPL-2.0
/* The name of bytes that are no function: a jump into them has a meaning. */
#include <lucos/patch.h>

LUCOS_REPLACE_NOINSTR(srso_untrain_ret, void, void)
{
}

LUCOS_PATCH("no_code", "replaces bytes that are no code from the start");
