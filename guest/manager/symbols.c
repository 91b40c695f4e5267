// SPDX-License-Identifier: GPL-2.0
/*
 * Finds symbols that are not exported.
 *
 * A kprobe gives the address of kallsyms_lookup_name, which knows the rest.
 */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/kprobes.h>
#include <linux/version.h>

#include <asm/cpufeature.h>

#include "symbols.h"

/* endbr64, which the kernel turns into a NOP where it is not needed. */
#define ENDBR64 0xfa1e0ff3U

struct lucos_symbols lucos_symbols;

enum kind {
	FUNCTION,
	DATA,
	OPTIONAL_DATA,
};

struct wanted {
	const char *name;
	void *place;
	enum kind kind;
};

#define WANT(name, member, kind) { #name, &lucos_symbols.member, kind }

static const struct wanted wanted[] = {
	WANT(kallsyms_lookup_size_offset, kallsyms_lookup_size_offset, FUNCTION),
	WANT(kallsyms_on_each_symbol, kallsyms_on_each_symbol, FUNCTION),
	WANT(module_kallsyms_on_each_symbol, module_kallsyms_on_each_symbol,
	     FUNCTION),
	WANT(core_kernel_text, core_kernel_text, FUNCTION),
	WANT(__module_text_address, module_text_address, FUNCTION),
	WANT(find_module, find_module, FUNCTION),
	WANT(jump_label_lock, jump_label_lock, FUNCTION),
	WANT(jump_label_unlock, jump_label_unlock, FUNCTION),
	WANT(__start___jump_table, jump_table, DATA),
	WANT(__stop___jump_table, jump_table_end, DATA),
	WANT(__start_static_call_sites, static_calls, DATA),
	WANT(__stop_static_call_sites, static_calls_end, DATA),
	WANT(__start___ex_table, exception_table, DATA),
	WANT(__stop___ex_table, exception_table_end, DATA),
	WANT(__start___bug_table, bug_table, DATA),
	WANT(__stop___bug_table, bug_table_end, DATA),
	WANT(alternatives_text_reserved, alternatives_text_reserved, FUNCTION),
	WANT(text_mutex, text_mutex, DATA),
	WANT(get_kprobe, get_kprobe, FUNCTION),
	WANT(kprobe_mutex, kprobe_mutex, DATA),
	WANT(kprobe_blacklist, kprobe_blacklist, DATA),
	WANT(within_kprobe_blacklist, within_kprobe_blacklist, FUNCTION),
	WANT(ftrace_location, ftrace_location, FUNCTION),
	WANT(ftrace_text_reserved, ftrace_text_reserved, FUNCTION),
	WANT(ftrace_lock, ftrace_lock, DATA),
	WANT(ftrace_ops_list, ftrace_ops_list, DATA),
	WANT(ftrace_list_end, ftrace_list_end, DATA),
	WANT(ftrace_rec_iter_start, ftrace_rec_iter_start, FUNCTION),
	WANT(ftrace_rec_iter_next, ftrace_rec_iter_next, FUNCTION),
	WANT(ftrace_rec_iter_record, ftrace_rec_iter_record, FUNCTION),
	WANT(idle_task, idle_task, FUNCTION),
	WANT(put_task_stack, put_task_stack, FUNCTION),
	WANT(stack_trace_save_tsk_reliable, stack_trace_save_tsk_reliable,
	     FUNCTION),
	WANT(ftrace_graph_get_ret_stack, ftrace_graph_get_ret_stack, FUNCTION),
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0) && \
	LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	WANT(hardirq_stack_ptr, hardirq_stack_ptr, OPTIONAL_DATA),
#else
	WANT(hardirq_stack_ptr, hardirq_stack_ptr, DATA),
#endif
	WANT(init_top_pgt, init_top_pgt, DATA),
	WANT(_stext, stext, DATA),
	WANT(_etext, etext, DATA),
	WANT(vmlinux_build_id, vmlinux_build_id, OPTIONAL_DATA),
};

/*
 * Where the kernel enforces indirect-branch tracking, a function that it never
 * calls indirectly has no ENDBR any more and cannot be called from here.
 */
static bool can_be_called(unsigned long address)
{
#ifdef X86_FEATURE_IBT
	if (cpu_feature_enabled(X86_FEATURE_IBT))
		return *(const u32 *)address == ENDBR64;
#endif
	return true;
}

static int find_lookup(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long address;
	int error;

	error = register_kprobe(&probe);
	if (error) {
		pr_err("cannot find kallsyms_lookup_name by a kprobe (%d)\n",
		       error);
		return -ENOENT;
	}
	address = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	/*
	 * With CONFIG_X86_KERNEL_IBT the probe stands behind the ENDBR. Calling
	 * the function there is wrong only where tracking is enforced.
	 */
	if (can_be_called(address - 4) && !can_be_called(address))
		address -= 4;
	if (!can_be_called(address)) {
		pr_err("kallsyms_lookup_name cannot be called on a processor that enforces IBT\n");
		return -ENOENT;
	}
	lucos_symbols.kallsyms_lookup_name = (void *)address;
	return 0;
}

static int find_one(const struct wanted *symbol)
{
	unsigned long address;

	address = lucos_symbols.kallsyms_lookup_name(symbol->name);
	if (!address && symbol->kind != OPTIONAL_DATA) {
		pr_err("this kernel has no symbol %s\n", symbol->name);
		return -ENOENT;
	}
	if (symbol->kind == FUNCTION && !can_be_called(address)) {
		pr_err("%s cannot be called on a processor that enforces IBT\n",
		       symbol->name);
		return -ENOENT;
	}
	*(unsigned long *)symbol->place = address;
	return 0;
}

int lucos_find_symbols(void)
{
	unsigned int i;
	int error;

	error = find_lookup();
	for (i = 0; !error && i < ARRAY_SIZE(wanted); i++)
		error = find_one(&wanted[i]);
	return error;
}
