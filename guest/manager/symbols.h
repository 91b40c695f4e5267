/* SPDX-License-Identifier: GPL-2.0 */
/* What the manager needs of the kernel and the kernel does not export. */
#ifndef LUCOS_MANAGER_SYMBOLS_H
#define LUCOS_MANAGER_SYMBOLS_H

#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/version.h>

struct bug_entry;
struct exception_table_entry;
struct static_call_site;

/* What is called for each symbol. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define LUCOS_VISIT_SYMBOL \
	int (*visit)(void *data, const char *name, unsigned long address)
#else
#define LUCOS_VISIT_SYMBOL \
	int (*visit)(void *data, const char *name, struct module *module, \
		     unsigned long address)
#endif

struct lucos_symbols {
	/* addresses and names */
	unsigned long (*kallsyms_lookup_name)(const char *name);
	int (*kallsyms_lookup_size_offset)(unsigned long address,
					   unsigned long *size,
					   unsigned long *offset);
	int (*kallsyms_on_each_symbol)(LUCOS_VISIT_SYMBOL, void *data);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	int (*module_kallsyms_on_each_symbol)(const char *module,
					      LUCOS_VISIT_SYMBOL, void *data);
#else
	int (*module_kallsyms_on_each_symbol)(LUCOS_VISIT_SYMBOL, void *data);
#endif
	int (*core_kernel_text)(unsigned long address);
	struct module *(*module_text_address)(unsigned long address);
	struct module *(*find_module)(const char *name);
	/* who else rewrites text */
	void (*jump_label_lock)(void);
	void (*jump_label_unlock)(void);
	const struct jump_entry *jump_table, *jump_table_end;
	const struct static_call_site *static_calls, *static_calls_end;
	const struct exception_table_entry *exception_table;
	const struct exception_table_entry *exception_table_end;
	const struct bug_entry *bug_table, *bug_table_end;
	int (*alternatives_text_reserved)(void *start, void *end);
	struct mutex *text_mutex;
	struct kprobe *(*get_kprobe)(void *address);
	struct mutex *kprobe_mutex;
	struct list_head *kprobe_blacklist;
	bool (*within_kprobe_blacklist)(unsigned long address);
	unsigned long (*ftrace_location)(unsigned long address);
	int (*ftrace_text_reserved)(const void *start, const void *end);
	struct mutex *ftrace_lock;
	struct ftrace_ops **ftrace_ops_list;	/* every active one, and */
	struct ftrace_ops *ftrace_list_end;	/* what ends the list */
	struct ftrace_rec_iter *(*ftrace_rec_iter_start)(void);
	struct ftrace_rec_iter *
		(*ftrace_rec_iter_next)(struct ftrace_rec_iter *iter);
	struct dyn_ftrace *
		(*ftrace_rec_iter_record)(struct ftrace_rec_iter *iter);
	/* threads and stacks */
	struct task_struct *(*idle_task)(int cpu);
	void (*put_task_stack)(struct task_struct *task);
	int (*stack_trace_save_tsk_reliable)(struct task_struct *task,
					     unsigned long *store,
					     unsigned int size);
	struct ftrace_ret_stack *
		(*ftrace_graph_get_ret_stack)(struct task_struct *task,
					      int index);
	void *hardirq_stack_ptr;	/* per-CPU offset; NULL: pcpu_hot */
	/* the kernel itself */
	void *init_top_pgt;
	const char *stext;
	const char *etext;
	void *vmlinux_build_id;		/* NULL: the kernel has none */
};

extern struct lucos_symbols lucos_symbols;

/*
 * Fills lucos_symbols. Gives 0 or -ENOENT after a message that names the
 * symbol that is missing.
 */
int lucos_find_symbols(void);

#endif
