// SPDX-License-Identifier: GPL-2.0
/* Objects to change: what they hold is shown by the module's parameters. */
#include <linux/compiler.h>
#include <linux/module.h>

#include "values_target.h"

int target_number = 5;
module_param(target_number, int, 0600);

unsigned int target_bits = 0x0f;
module_param(target_bits, uint, 0600);

int target_error;
module_param(target_error, int, 0600);

int target_applies;
module_param(target_applies, int, 0400);

int target_rollbacks;
module_param(target_rollbacks, int, 0400);

const struct target_table target_table = {
	.before = 1,
	.entry = 7,
	.text = "a text of more than sixteen bytes",
};

static int show_table(char *buffer, const struct kernel_param *parameter)
{
	const struct target_table *table = parameter->arg;

	/* The compiler shall not know what is there. */
	OPTIMIZER_HIDE_VAR(table);
	return scnprintf(buffer, PAGE_SIZE, "%d %d %s\n", table->before,
			 table->entry, table->text);
}

static const struct kernel_param_ops table_ops = { .get = show_table };
module_param_cb(target_table, &table_ops, (void *)&target_table, 0400);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("objects for patches to change");
