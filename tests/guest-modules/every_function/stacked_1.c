// SPDX-License-Identifier: GPL-2.0
#define LEVEL "1"
#include "stacked.h"

LUCOS_PATCH("stacked_1", "one of several on the same functions");
