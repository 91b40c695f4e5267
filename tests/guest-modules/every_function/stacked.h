/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The body of several patches of the same functions, which say which one is in
 * force: one takes a jump, one keeps its trap, one is redirected at its slot.
 */
#include <linux/fs.h>
#include <linux/psi.h>
#include <linux/seq_file.h>
#include <linux/uio.h>

#include <lucos/patch.h>

LUCOS_REPLACE(version_proc_show, int, struct seq_file *file, void *unused)
{
	seq_puts(file, LEVEL "\n");
	return 0;
}

LUCOS_REPLACE(urandom_read_iter, ssize_t, struct kiocb *request,
	      struct iov_iter *place)
{
	return copy_to_iter(LEVEL, 1, place);
}

LUCOS_REPLACE(psi_show, int, struct seq_file *file, struct psi_group *group,
	      enum psi_res resource)
{
	seq_puts(file, LEVEL "\n");
	return 0;
}
