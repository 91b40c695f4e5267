// SPDX-License-Identifier: GPL-2.0
/* A counter that becomes coarser: what is left of a dozen is lost. */
#include <linux/kernel.h>

#include <lucos/version.h>

#include "data_target.h"

static u16 dozens LUCOS_TWIN_VARIABLE;

LUCOS_DATA(dozens, target_total, dozens);
LUCOS_LOSSY(dozens);
LUCOS_TO_NEW(dozens) { *new = *old / 12; }
LUCOS_TO_OLD(dozens) { *old = *new * 12; }

LUCOS_REPLACE(target_show, int, char *buffer)
{
	return scnprintf(buffer, PAGE_SIZE, "%u dozens\n", dozens);
}

LUCOS_PATCH("data_lossy", "counts dozens");
