// SPDX-License-Identifier: GPL-2.0
/* Turns a feature of the scheduler off, which is a static key: by hooks. */
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include <lucos/patch.h>

extern const char * const sched_feat_names[];
extern struct static_key sched_feat_keys[];
extern unsigned int sysctl_sched_features;

/* More features than any kernel has. */
#define FEATURES 64

static bool was_on;

static int find_feature(void)
{
	int i;

	for (i = 0; i < FEATURES && sched_feat_names[i]; i++)
		if (!strcmp(sched_feat_names[i], "RT_PUSH_IPI"))
			return i;
	return -ENOENT;
}

static int turn_off(void)
{
	int feature = find_feature();

	if (feature < 0)
		return feature;
	was_on = static_key_enabled(&sched_feat_keys[feature]);
	static_key_disable(&sched_feat_keys[feature]);
	sysctl_sched_features &= ~(1U << feature);
	return 0;
}

static void turn_on(void)
{
	int feature = find_feature();

	if (feature < 0 || !was_on)
		return;
	sysctl_sched_features |= 1U << feature;
	static_key_enable(&sched_feat_keys[feature]);
}

LUCOS_ON_APPLY(turn_off);
LUCOS_ON_ROLLBACK(turn_on);

LUCOS_PATCH("no_push_ipi", "no IPIs for pushing realtime tasks");
