/* SPDX-License-Identifier: GPL-2.0 */
/* The first OBJECTS objects of the target, wider. Their twins lie in a row. */
#include <lucos/version.h>

#include "figures_target.h"

static u64 twins[OBJECTS] LUCOS_TWIN_VARIABLE;

/* Only the part of the array that the patch has. */
#define FIRST (*(u32 (*)[OBJECTS])&figures_objects)

LUCOS_DATA_ARRAY(objects, FIRST, twins);
LUCOS_TO_NEW(objects) { *new = *old; }
LUCOS_TO_OLD(objects) { *old = *new; }

LUCOS_REPLACE(figures_sum, u64, unsigned int count)
{
	u64 sum = 0;

	while (count--)
		sum += count < OBJECTS ? twins[count] : figures_objects[count];
	return sum;
}
