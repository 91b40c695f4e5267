// SPDX-License-Identifier: GPL-2.0
/*
 * What follows an update when no thread stands in the way any more: a trap
 * becomes a jump when nobody is in the window, data is no longer guarded when
 * nobody is in the code that was left, and a patch that was taken back is
 * unloaded when nobody is in its code.
 *
 * One worker does it for all patches, with one search through the threads, and
 * comes back less and less often while something is in the way.
 */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/errno.h>
#include <linux/kmod.h>
#include <linux/moduleparam.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/umh.h>
#include <linux/workqueue.h>

#include "ask.h"
#include "drain.h"
#include "fence.h"
#include "module_text.h"
#include "registry.h"
#include "settle.h"
#include "step.h"
#include "threads.h"
#include "twins.h"
#include "versions.h"

#define FIRST_DELAY_MS 10
#define LONGEST_DELAY_MS 1000

static char *unload_helper = "/sbin/rmmod";
module_param(unload_helper, charp, 0600);
MODULE_PARM_DESC(unload_helper,
		 "path of the program that unloads a module, empty: leave unused patches");

static struct workqueue_struct *queue;
static void settle(struct work_struct *work);
static DECLARE_DELAYED_WORK(settle_work, settle);
static unsigned int delay_ms = FIRST_DELAY_MS;

/* What a range of the search is about. */
struct aim {
	struct loaded_patch *loaded;
	u32 number;		/* the application it belongs to */
	unsigned int function;	/* or one of: */
};

#define WHOLE_MODULE UINT_MAX
#define OLD_CODE (UINT_MAX - 1)	/* of a patch, whose ranges follow one another */

struct round {
	struct lucos_search search;
	struct aim *aims;
	unsigned int filled;	/* of the search's ranges and the aims */
};

static void add(struct round *round, struct loaded_patch *loaded,
		unsigned int function, unsigned long start, unsigned long end)
{
	unsigned int i = round->filled++;

	round->search.ranges[i].start = start;
	round->search.ranges[i].end = end;
	round->aims[i].loaded = loaded;
	round->aims[i].number = loaded->number;
	round->aims[i].function = function;
	round->search.ranges[i].published = function == WHOLE_MODULE &&
					    loaded->publishes;
}

/* Whether a patch waits for its own code to be left. */
static bool waits_for_module(const struct loaded_patch *loaded)
{
	return loaded->state == LUCOS_LOADED_DRAINING ||
	       lucos_drain_waits_for_new(loaded);
}

/* How many ranges there are to wait for. */
static unsigned int count_aims(void)
{
	struct loaded_patch *loaded;
	unsigned int i, count = 0;

	list_for_each_entry(loaded, &lucos_registry, link) {
		count += waits_for_module(loaded);
		count += lucos_drain_ranges(loaded);
		if (loaded->state != LUCOS_LOADED_APPLIED)
			continue;
		for (i = 0; i < loaded->count; i++)
			count += !loaded->functions[i].settled;
	}
	return count;
}

static void collect_old(struct round *round, struct loaded_patch *loaded)
{
	unsigned int i, count = lucos_drain_ranges(loaded);

	for (i = 0; i < count; i++)
		add(round, loaded, OLD_CODE, loaded->old_code.ranges[i].start,
		    loaded->old_code.ranges[i].end);
}

/* As many as count_aims() said. */
static void collect(struct round *round)
{
	struct loaded_patch *loaded;
	unsigned int i;

	list_for_each_entry(loaded, &lucos_registry, link) {
		if (waits_for_module(loaded)) {
			unsigned long text = lucos_module_text(loaded->module);

			add(round, loaded, WHOLE_MODULE, text,
			    text + lucos_module_text_size(loaded->module));
		}
		collect_old(round, loaded);
		if (loaded->state != LUCOS_LOADED_APPLIED)
			continue;
		for (i = 0; i < loaded->count; i++) {
			unsigned long site = loaded->functions[i].site;

			/* At the site itself a thread meets the trap. */
			if (!loaded->functions[i].settled)
				add(round, loaded, i, site + 1,
				    site + LUCOS_JUMP_SIZE);
		}
	}
}

/* Whether the patch is still where it was when the search began. */
static bool is_current(const struct aim *aim)
{
	const struct loaded_patch *loaded = aim->loaded;

	if (loaded->number != aim->number)
		return false;
	if (aim->function == WHOLE_MODULE)
		return waits_for_module(loaded);
	if (aim->function == OLD_CODE)
		return lucos_drain_waits_for_old(loaded);
	return loaded->state == LUCOS_LOADED_APPLIED;
}

static bool is_temporary(u32 code)
{
	return code == LUCOS_ERROR_BUSY || code == LUCOS_ERROR_DEADLINE ||
	       code == LUCOS_ERROR_WINDOW_OCCUPIED;
}

/*
 * Asks for the jump of one function or of all that can have one, which takes
 * one stop. `jumps` gets the number of the patch's functions that have a jump
 * then. Gives 0 or an error code.
 */
static u32 ask_for_jump(const struct loaded_patch *loaded, u32 function,
			unsigned int *jumps)
{
	struct lucos_registers registers = {
		.rcx = loaded->number,
		.rdx = function,
	};
	struct lucos_failure failure;

	if (!lucos_ask(LUCOS_CALL_JUMP, &registers, &failure))
		return failure.code;
	*jumps = registers.rbx;
	return 0;
}

/* Functions with a jump take kprobes behind their windows again. */
static void shorten_fences(const struct loaded_patch *loaded)
{
	/* LUCOS writes here. The registry's lock is held. */
	static struct lucos_jump_status jumps;
	struct lucos_failure failure;
	unsigned int i;

	if (!lucos_query(LUCOS_QUERY_JUMPS, loaded->number, &jumps,
			 sizeof(jumps), &failure))
		return;
	for (i = 0; i < loaded->count; i++) {
		const struct loaded_function *function = &loaded->functions[i];

		if (jumps.windows[i])
			lucos_fence_shorten(function->fence,
					    function->site + jumps.windows[i]);
	}
}

/* Whether nobody is in a range, for sure. */
static bool is_free(const struct round *round, unsigned int i)
{
	return !round->search.uncertain && !test_bit(i, round->search.occupied);
}

/* Whether a range is a window of this patch that was free and has no jump yet. */
static bool is_free_window(const struct round *round, unsigned int i,
			   const struct loaded_patch *loaded)
{
	const struct aim *aim = &round->aims[i];

	return aim->loaded == loaded && aim->function < loaded->count &&
	       !loaded->functions[aim->function].settled &&
	       is_free(round, i);
}

/* Whether every function that waits for its jump has a free window. */
static bool all_free(const struct round *round,
		     const struct loaded_patch *loaded)
{
	unsigned int i, waiting = 0, free = 0;

	for (i = 0; i < loaded->count; i++)
		waiting += !loaded->functions[i].settled;
	for (i = 0; i < round->search.count; i++)
		free += is_free_window(round, i, loaded);
	return waiting == free;
}

/* One stop for all functions of a patch; false when some got no jump. */
static bool settle_together(struct loaded_patch *loaded)
{
	unsigned int i, jumps = 0, possible = 0;
	u32 error;

	for (i = 0; i < loaded->count; i++)
		possible += !loaded->functions[i].no_jump;
	error = ask_for_jump(loaded, LUCOS_ALL_FUNCTIONS, &jumps);
	if (error || jumps < possible)
		return is_temporary(error);
	for (i = 0; i < loaded->count; i++)
		loaded->functions[i].settled = true;
	shorten_fences(loaded);
	return true;
}

static void settle_function(const struct round *round, const struct aim *aim)
{
	struct loaded_patch *loaded = aim->loaded;
	unsigned int jumps;
	u32 error;

	if (!is_current(aim) || loaded->functions[aim->function].settled)
		return;
	if (!loaded->one_by_one && all_free(round, loaded)) {
		/* Each function is asked for next time, and says why not. */
		loaded->one_by_one = !settle_together(loaded);
		return;
	}
	error = ask_for_jump(loaded, aim->function, &jumps);
	/* What is not temporary is for good; `lucos show` says why. */
	loaded->functions[aim->function].settled = !is_temporary(error);
	if (!error)
		shorten_fences(loaded);
}

/* Notes who stands in the way, or that nobody does any more. */
static void note_inside(const struct round *round, unsigned int i)
{
	const struct aim *aim = &round->aims[i];
	const struct lucos_occupant *who = NULL;

	if (!is_current(aim))
		return;
	if (test_bit(i, round->search.occupied))
		who = &round->search.occupants[i];
	if (aim->function != WHOLE_MODULE)
		lucos_inside_note(&aim->loaded->functions[aim->function].inside,
				  who);
	else
		lucos_inside_note(&aim->loaded->inside, who);
}

/*
 * Acts on the ranges of a patch's old code, of which this is the first. Gives the
 * number of the one behind them.
 */
static unsigned int settle_old(const struct round *round, unsigned int first)
{
	const struct aim *aim = &round->aims[first];
	const struct lucos_occupant *who = NULL;
	unsigned int i;

	for (i = first; i < round->search.count &&
			round->aims[i].loaded == aim->loaded &&
			round->aims[i].function == OLD_CODE; i++)
		if (!who && test_bit(i, round->search.occupied))
			who = &round->search.occupants[i];
	if (!is_current(aim))
		return i;
	lucos_inside_note(&aim->loaded->inside, who);
	if (!who && !round->search.uncertain)
		lucos_drain_old(aim->loaded);
	return i;
}

/*
 * Gives the module's name to `unload` when the patch is not used any more. Its
 * twins go even if nobody unloads it.
 */
static bool settle_module(const struct aim *aim, char *unload)
{
	struct loaded_patch *loaded = aim->loaded;

	/* What the kernel may go on using stays. */
	if (!is_current(aim) || !lucos_drain_new(loaded) ||
	    loaded->state != LUCOS_LOADED_DRAINING)
		return false;
	lucos_twins_drop_all(loaded);
	loaded->state = LUCOS_LOADED_UNUSED;
	strscpy(unload, loaded->module->name, MODULE_NAME_LEN);
	module_put(loaded->module);
	return true;
}

static void unload(char *module)
{
	static char *environment[] = {
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL,
	};
	char *arguments[] = { NULL, module, NULL };
	int error;

	/* Whoever writes the parameter frees what stood there. */
	kernel_param_lock(THIS_MODULE);
	arguments[0] = kstrdup(unload_helper, GFP_KERNEL);
	kernel_param_unlock(THIS_MODULE);
	if (!arguments[0] || arguments[0][0] != '/')
		goto out;
	/* The module's exit takes the registry's lock: it is not held here. */
	error = call_usermodehelper(arguments[0], arguments, environment,
				    UMH_WAIT_PROC);
	if (error)
		pr_warn("%s %s ended with %d, the module stays loaded\n",
			arguments[0], module, error);
out:
	kfree(arguments[0]);
}

/*
 * What a patch handed to RCU runs in its code later; after this it has run.
 * Nobody hands over more, since nobody is in its code.
 */
static void wait_for_callbacks(void)
{
	synchronize_rcu();
	rcu_barrier();
}

/* Acts on what was found in one range. */
static void act_on(const struct round *round, unsigned int i)
{
	const struct aim *aim = &round->aims[i];
	char module[MODULE_NAME_LEN];
	bool unused = false;

	if (is_free(round, i) && aim->function == WHOLE_MODULE)
		wait_for_callbacks();
	lucos_registry_lock();
	note_inside(round, i);
	if (!is_free(round, i))
		;	/* somebody stands in the way, or may do */
	else if (aim->function != WHOLE_MODULE)
		settle_function(round, aim);
	else
		unused = settle_module(aim, module);
	lucos_registry_unlock();
	if (unused)
		unload(module);
}

/* Acts on what the search found. */
static void act(const struct round *round)
{
	unsigned int i = 0;

	while (i < round->search.count) {
		if (round->aims[i].function != OLD_CODE) {
			act_on(round, i++);
			continue;
		}
		lucos_registry_lock();
		i = settle_old(round, i);
		lucos_registry_unlock();
	}
}

static void free_round(struct round *round)
{
	lucos_search_free(&round->search);
	kvfree(round->aims);
}

/* Whether LUCOS may withdraw something: a transfer function can fail. */
static bool anything_guarded(void)
{
	const struct loaded_patch *loaded;

	list_for_each_entry(loaded, &lucos_registry, link)
		if (lucos_drain_waits_for_old(loaded))
			return true;
	return false;
}

/* Gives the number of ranges to wait for, or -ENOMEM. */
static int begin_round(struct round *round)
{
	unsigned int count;
	int error = 0;

	memset(round, 0, sizeof(*round));
	lucos_registry_lock();
	if (anything_guarded())
		lucos_step_withdrawn(LUCOS_CAUSE_TRANSFER);
	count = count_aims();
	if (count) {
		round->aims = kvcalloc(count, sizeof(*round->aims), GFP_KERNEL);
		error = lucos_search_alloc(&round->search, count);
		if (!round->aims)
			error = -ENOMEM;
		if (!error)
			collect(round);
	}
	lucos_registry_unlock();
	return error ?: count;
}

static bool anything_left(void)
{
	bool left;

	lucos_registry_lock();
	left = anything_guarded() || count_aims();
	lucos_registry_unlock();
	return left;
}

static noinline void settle(struct work_struct *work)
{
	void *frame = __builtin_frame_address(0);
	struct round round;

	if (begin_round(&round) > 0 &&
	    !lucos_search_threads(&round.search, frame))
		act(&round);
	free_round(&round);
	if (!anything_left())
		return;
	delay_ms = min(delay_ms * 2, (unsigned int)LONGEST_DELAY_MS);
	queue_delayed_work(queue, &settle_work, msecs_to_jiffies(delay_ms));
}

void lucos_settle_soon(void)
{
	delay_ms = FIRST_DELAY_MS;
	mod_delayed_work(queue, &settle_work, msecs_to_jiffies(delay_ms));
}

int lucos_settle_start(void)
{
	queue = alloc_workqueue("lucos", WQ_UNBOUND | WQ_FREEZABLE, 1);
	return queue ? 0 : -ENOMEM;
}

void lucos_settle_stop(void)
{
	cancel_delayed_work_sync(&settle_work);
	destroy_workqueue(queue);
}
