// SPDX-License-Identifier: GPL-2.0
#define LEVEL "2"
#include "stacked.h"

LUCOS_PATCH("stacked_2", "one of several on the same functions");
