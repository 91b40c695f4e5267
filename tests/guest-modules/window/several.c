// SPDX-License-Identifier: GPL-2.0
/* The functions of three spots at once; a thread can be held in the first. */
#include <lucos/patch.h>

#define REPLACE(spot)							\
	LUCOS_REPLACE_SELECTED("window", 0, "window_target_" #spot, spot, \
			       unsigned long, unsigned long number)	\
	{								\
		return number + 1001;					\
	}

REPLACE(fault)
REPLACE(interrupt)
REPLACE(debug)

LUCOS_PATCH("window_several", "replaces the functions of several spots");
