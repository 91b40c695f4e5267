// SPDX-License-Identifier: GPL-2.0
/* The first instruction behind the slot has a LOCK prefix. */
#include <lucos/patch.h>

struct dax_device;

/* Nothing in the tests' machine calls it. */
LUCOS_REPLACE(set_dax_synchronous, void, struct dax_device *device)
{
}

LUCOS_PATCH("lock_at_site", "replaces a function that starts with a LOCK prefix");
