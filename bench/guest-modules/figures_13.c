// SPDX-License-Identifier: GPL-2.0
#define FUNCTIONS 13
#include "functions.h"

LUCOS_PATCH("figures_13", "replaces 13 functions by the same");
