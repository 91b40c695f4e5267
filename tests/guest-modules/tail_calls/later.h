/* SPDX-License-Identifier: GPL-2.0 */
#ifndef LATER_H
#define LATER_H

struct seq_file;

int later(int (*callback)(struct seq_file *file), struct seq_file *file);
int later_show(struct seq_file *file, void *unused);

#endif
