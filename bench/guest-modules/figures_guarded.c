// SPDX-License-Identifier: GPL-2.0
/* Objects of three sizes in another form, while a thread sleeps in old code. */
#include <lucos/version.h>

#include "figures_target.h"

struct large {
	u32 first;
	u32 rest[1023];
};

static u64 small LUCOS_TWIN_VARIABLE;
static struct figures_middle middle LUCOS_TWIN_VARIABLE;
static struct large large LUCOS_TWIN_VARIABLE;

LUCOS_DATA(small, figures_small.value, small);
LUCOS_TO_NEW(small) { *new = *old; }
LUCOS_TO_OLD(small) { *old = *new; }

/* The words in the other order. */
LUCOS_DATA(middle, figures_middle, middle);
LUCOS_TO_NEW(middle)
{
	int i;

	for (i = 0; i < 16; i++)
		new->words[i] = old->words[15 - i];
}
LUCOS_TO_OLD(middle)
{
	int i;

	for (i = 0; i < 16; i++)
		old->words[i] = new->words[15 - i];
}

LUCOS_DATA(large, figures_large, large);
LUCOS_TO_NEW(large) { memcpy(new, old, sizeof(*new)); }
LUCOS_TO_OLD(large) { memcpy(old, new, sizeof(*old)); }

LUCOS_REPLACE(figures_hold, int, void)
{
	return small + middle.words[15] + large.first;
}

LUCOS_PATCH("figures_guarded", "objects of three sizes in another form");
