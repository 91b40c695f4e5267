// SPDX-License-Identifier: GPL-2.0
/*
 * Replaces the functions of branches.c: 100 more than the old ones give. The
 * new functions have static branches on the same key.
 */
#include <linux/jump_label.h>

#include <lucos/patch.h>

extern struct static_key_false branches_key;

LUCOS_REPLACE_SELECTED("branches", 0, "branches_at_site", at_site, int, int x)
{
	return static_branch_unlikely(&branches_key) ? x + 102 : x + 101;
}

LUCOS_REPLACE_SELECTED("branches", 0, "branches_in_window", in_window, int,
		       int x)
{
	return static_branch_unlikely(&branches_key) ? x + 112 : x + 111;
}

LUCOS_REPLACE_SELECTED("branches", 0, "branches_behind", behind, int, int x)
{
	return static_branch_unlikely(&branches_key) ? x + 122 : x + 121;
}

LUCOS_PATCH("new_branches", "replaces functions with static branches");
