// SPDX-License-Identifier: GPL-2.0
/* The new function gives a function of its own to a thread, which calls it later. */
#include <linux/seq_file.h>

#include <lucos/patch.h>

#include "holder.h"

static noinline void called_later(void)
{
	holder_count();
}

LUCOS_REPLACE(uptime_proc_show, int, struct seq_file *m, void *v)
{
	int error = holder_keep(called_later);

	seq_puts(m, error ? "no thread\n" : "handed over\n");
	return 0;
}

LUCOS_PATCH("pointer", "gives a function to a thread");
