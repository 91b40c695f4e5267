// SPDX-License-Identifier: GPL-2.0
#define OBJECTS 100
#include "figures_data.h"

LUCOS_PATCH("figures_data_100", "has 100 objects in another form");
