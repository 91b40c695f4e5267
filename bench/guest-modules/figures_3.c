// SPDX-License-Identifier: GPL-2.0
#define FUNCTIONS 3
#include "functions.h"

LUCOS_PATCH("figures_3", "replaces 3 functions by the same");
