// SPDX-License-Identifier: GPL-2.0
#define FUNCTIONS 2
#include "functions.h"

LUCOS_PATCH("figures_2", "replaces 2 functions by the same");
