// SPDX-License-Identifier: GPL-2.0
#include "hands_on.h"

LUCOS_PATCH("hands_on", "hands a callback on as its last act");
