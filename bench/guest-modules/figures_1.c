// SPDX-License-Identifier: GPL-2.0
#define FUNCTIONS 1
#include "functions.h"

LUCOS_PATCH("figures_1", "replaces 1 function by the same");
