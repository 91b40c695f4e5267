// SPDX-License-Identifier: GPL-2.0
/* A value on that of values_first, made for what the kernel itself has there. */
#include <lucos/patch.h>

#include "values_target.h"

LUCOS_VALUE(target_number, 5, 8);

LUCOS_PATCH("values_second", "changes the number once more");
