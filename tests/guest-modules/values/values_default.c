// SPDX-License-Identifier: GPL-2.0
/* A default, beside a value that must be what it was. */
#include <lucos/patch.h>

#include "values_target.h"

LUCOS_DEFAULT(target_number, 5, 9);
LUCOS_BITS(target_bits, 0x100, 0, 0x100);

LUCOS_PATCH("values_default", "changes a default");
