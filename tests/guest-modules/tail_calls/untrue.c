// SPDX-License-Identifier: GPL-2.0
#include "hands_on.h"

LUCOS_PATCH("untrue", "hands a callback on as its last act");
