// SPDX-License-Identifier: GPL-2.0
/* How the last loads of patch modules ended. */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/string.h>

#include "outcome.h"

struct outcome {
	char module[MODULE_NAME_LEN];
	enum lucos_verdict verdict;
	struct lucos_failure failure;	/* when it was refused */
};

static struct outcome outcomes[8];
static unsigned int next_outcome;

static struct outcome *find(const char *module)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(outcomes); i++)
		if (!strcmp(outcomes[i].module, module))
			return &outcomes[i];
	return NULL;
}

void lucos_outcome_set(const char *module, enum lucos_verdict verdict,
		       const struct lucos_failure *failure)
{
	struct outcome *outcome = find(module);

	if (!outcome) {
		outcome = &outcomes[next_outcome];
		next_outcome = (next_outcome + 1) % ARRAY_SIZE(outcomes);
		strscpy(outcome->module, module, sizeof(outcome->module));
	}
	outcome->verdict = verdict;
	outcome->failure = *failure;
}

enum lucos_verdict lucos_outcome_take(const char *module,
				      struct lucos_failure *failure)
{
	struct outcome *outcome = module[0] ? find(module) : NULL;

	if (!outcome)
		return LUCOS_VERDICT_NONE;
	*failure = outcome->failure;
	outcome->module[0] = '\0';
	return outcome->verdict;
}
