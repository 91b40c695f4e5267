// SPDX-License-Identifier: GPL-2.0
/* Some of the bits that values_first changes, and some that it does not. */
#include <lucos/patch.h>

#include "values_target.h"

LUCOS_BITS(target_bits, 0x18, 0x08, 0x10);

LUCOS_PATCH("values_part", "changes some of the same bits");
