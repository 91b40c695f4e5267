// SPDX-License-Identifier: GPL-2.0
#define OBJECTS 1000
#include "figures_data.h"

LUCOS_PATCH("figures_data_1000", "has 1000 objects in another form");
