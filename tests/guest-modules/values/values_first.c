// SPDX-License-Identifier: GPL-2.0
/* Values only, read-only ones too, and of more bytes than one record has. */
#include <lucos/patch.h>

#include "values_target.h"

LUCOS_VALUE(target_number, 5, 6);
LUCOS_BITS(target_bits, 0xf0, 0x00, 0x50);
LUCOS_VALUE(target_table.entry, 7, 70);
LUCOS_VALUE(target_table.text, "a text of more than sixteen bytes",
	    "another text, of sixteen bytes more");

LUCOS_PATCH("values_first", "changes a number, some bits and a table");
