// SPDX-License-Identifier: GPL-2.0
/*
 * Functions that threads stay in for as long as they are told to.
 *
 * `enter` starts a thread that stays in its own way: "sleep", "cold" (asleep in
 * the part that lies elsewhere), "spin", "exit" (spins when it is no thread of
 * anybody any more). `stay` 0 lets all of them go. `count` is how often they left.
 *
 * To be loaded as `lucos resolve` makes it: the kernel exports no way to make a pipe.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "leaving_target.h"

static int stay = 1;
module_param(stay, int, 0600);

u32 leaving_count;
EXPORT_SYMBOL_GPL(leaving_count);

u32 leaving_idle_count;
EXPORT_SYMBOL_GPL(leaving_idle_count);
module_param_named(idle_count, leaving_idle_count, uint, 0400);

noinline void leaving_idle_add(void)
{
	leaving_idle_count++;
}
EXPORT_SYMBOL_GPL(leaving_idle_add);

static int idle_add_set(const char *value, const struct kernel_param *param)
{
	leaving_idle_add();
	return 0;
}

static const struct kernel_param_ops idle_add_ops = { .set = idle_add_set };
module_param_cb(idle_add, &idle_add_ops, NULL, 0200);

static bool spins;

noinline void leaving_wait(void)
{
	while (READ_ONCE(stay)) {
		if (spins)
			cond_resched();
		else
			msleep(20);
	}
}

EXPORT_SYMBOL_GPL(leaving_wait);

noinline void leaving_stay(void)
{
	leaving_wait();
	leaving_count++;
}
EXPORT_SYMBOL_GPL(leaving_stay);

/*
 * What the compiler does with seldom code when it is told to, and not with each
 * kernel's flags: a part that is jumped to, with a symbol of its own.
 */
static noinline __used __section(".text.unlikely") int cold_part(void)
	asm("leaving_cold.cold");

static int cold_part(void)
{
	leaving_wait();
	leaving_count += 10;
	return leaving_count;
}

/* A jump: the part returns to who called the function. */
noinline __attribute__((optimize("optimize-sibling-calls"))) int
leaving_cold(int seldom)
{
	if (unlikely(seldom))
		return cold_part();
	return leaving_count;
}
EXPORT_SYMBOL_GPL(leaving_cold);

static int run_sleep(void *data)
{
	leaving_stay();
	return 0;
}

static int run_cold(void *data)
{
	leaving_cold(1);
	return 0;
}

struct pipe_inode_info *alloc_pipe_info(void);

static void stay_in_exit(struct pipe_inode_info *pipe, struct pipe_buffer *buffer)
{
	leaving_stay();
}

static const struct pipe_buf_operations exit_ops = { .release = stay_in_exit };

/* A thread gives up its pipe when it has left all lists of threads. */
static int run_exit(void *pipe)
{
	current->splice_pipe = pipe;
	return 0;
}

static int enter_exit(void)
{
	struct pipe_inode_info *pipe = alloc_pipe_info();
	struct task_struct *thread;

	if (!pipe)
		return -ENOMEM;
	pipe->bufs[0].ops = &exit_ops;
	thread = kthread_run(run_exit, pipe, "leaving");
	return PTR_ERR_OR_ZERO(thread);
}

static int enter_set(const char *value, const struct kernel_param *param)
{
	bool cold = sysfs_streq(value, "cold");
	bool exits = sysfs_streq(value, "exit");
	struct task_struct *thread;

	spins = exits || sysfs_streq(value, "spin");
	WRITE_ONCE(stay, 1);
	if (exits)
		return enter_exit();
	thread = kthread_run(cold ? run_cold : run_sleep, NULL, "leaving");
	return PTR_ERR_OR_ZERO(thread);
}

static int count_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%d\n", leaving_cold(0));
}

static const struct kernel_param_ops enter_ops = { .set = enter_set };
static const struct kernel_param_ops count_ops = { .get = count_get };

module_param_cb(enter, &enter_ops, NULL, 0200);
module_param_cb(count, &count_ops, NULL, 0400);

MODULE_DESCRIPTION("Functions that threads stay in");
MODULE_LICENSE("GPL");
