// SPDX-License-Identifier: GPL-2.0
/* Other bits of the number of which values_first changes some. */
#include <lucos/patch.h>

#include "values_target.h"

LUCOS_BITS(target_bits, 0x3, 0x3, 0x0);

LUCOS_PATCH("values_other_bits", "changes other bits");
