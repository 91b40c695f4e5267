// SPDX-License-Identifier: GPL-2.0
#define LEVEL "3"
#include "stacked.h"

LUCOS_PATCH("stacked_3", "one of several on the same functions");
