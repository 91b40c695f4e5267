// SPDX-License-Identifier: GPL-2.0
#define OBJECTS 1
#include "figures_data.h"

LUCOS_PATCH("figures_data_1", "has 1 object in another form");
