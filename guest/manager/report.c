// SPDX-License-Identifier: GPL-2.0
/* What the manager and LUCOS know, as JSON. */
#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <linux/smp.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "descriptor.h"
#include "hypercall.h"
#include "patches.h"
#include "report.h"
#include "slot.h"

#define LOG_PIECE 4096

/* More than LUCOS keeps: an end for a log that grows while it is read. */
#define LOG_LIMIT (1024 * 1024)

/* LUCOS writes the records here; the patch lock is held. */
static union {
	struct lucos_system_status system;
	struct lucos_patch_status patch;
	struct lucos_function_status function;
	struct lucos_jump_status jumps;
	struct lucos_exit_counters exits;
	struct lucos_processor_list processors;
	char log[LOG_PIECE];
} buffer;

static const char *const state_names[] = {
	[LOADED_APPLIED] = "applied",
	[LOADED_DRAINING] = "draining",
	[LOADED_UNUSED] = "unused",
	[LOADED_KEPT] = "kept",
};

#define LUCOS_CASE(name, number, meaning) case number: return #name;

static const char *site_name(u32 state)
{
	switch (state) {
	LUCOS_SITE_STATES(LUCOS_CASE)
	}
	return "UNKNOWN";
}

static const char *reason_name(u32 reason)
{
	switch (reason) {
	LUCOS_WINDOW_REASONS(LUCOS_CASE)
	}
	return "UNKNOWN";
}

static const char *exit_name(u32 class)
{
	switch (class) {
	LUCOS_EXIT_CLASSES(LUCOS_CASE)
	}
	return NULL;
}

static const char *extension_name(u32 extension)
{
	switch (extension) {
	LUCOS_EXTENSIONS(LUCOS_CASE)
	}
	return "UNKNOWN";
}

#undef LUCOS_CASE

/* Reads a record into the buffer; false after filling `failure`. */
static bool read_record(enum lucos_query_kind kind, u64 selector, size_t size,
			struct lucos_failure *failure)
{
	s64 result;

	memset(&buffer, 0, sizeof(buffer));
	result = lucos_query(kind, selector, &buffer, size);
	if (result < 0)
		return lucos_fail(failure, -result, NULL, 0);
	if ((size_t)result < size)
		return lucos_fail(failure, LUCOS_ERROR_LENGTH, NULL, result);
	return true;
}

static bool read_patch(u32 position, struct lucos_failure *failure)
{
	return read_record(LUCOS_QUERY_PATCH, position,
			   sizeof(struct lucos_patch_status), failure);
}

/* Finds a patch in the list of LUCOS; its record is in the buffer then. */
static bool find_patch(u32 number, u32 *position, struct lucos_failure *failure)
{
	for (*position = 0; read_patch(*position, failure); ++*position)
		if (buffer.patch.number == number)
			return true;
	return false;
}

static bool read_function(u32 position, unsigned int index,
			  struct lucos_failure *failure)
{
	return read_record(LUCOS_QUERY_FUNCTION, (u64)position << 32 | index,
			   sizeof(struct lucos_function_status), failure);
}

const struct lucos_jump_status *
lucos_report_jumps(const struct loaded_patch *loaded,
		   struct lucos_failure *failure)
{
	if (!read_record(LUCOS_QUERY_JUMPS, loaded->number,
			 sizeof(struct lucos_jump_status), failure))
		return NULL;
	return &buffer.jumps;
}

/* Functions whose calls are led elsewhere before they get to LUCOS's site. */
static unsigned int count_overridden(const struct loaded_patch *loaded)
{
	unsigned int i, count = 0;

	if (loaded->state != LOADED_APPLIED)
		return 0;
	for (i = 0; i < loaded->count; i++)
		count += lucos_slot_overrides(loaded->functions[i].site);
	return count;
}

static unsigned int count_all_overridden(void)
{
	struct loaded_patch *loaded;
	unsigned int count = 0;

	list_for_each_entry(loaded, &lucos_patches, link)
		count += count_overridden(loaded);
	return count;
}

static void add_number(struct lucos_reply *reply, const char *name, u64 value)
{
	lucos_reply(reply, ", \"%s\": %llu", name, value);
}

static void add_exits(struct lucos_reply *reply,
		      struct lucos_failure *failure)
{
	const char *separator = "";
	u32 i;

	lucos_reply(reply, ", \"exits\": {");
	if (read_record(LUCOS_QUERY_EXIT_COUNTERS, LUCOS_ALL_PROCESSORS,
			sizeof(struct lucos_exit_counters), failure)) {
		u32 count = min_t(u32, buffer.exits.count, LUCOS_EXIT_COUNTERS);

		for (i = 0; i < count && exit_name(i); i++) {
			lucos_reply(reply, "%s\"%s\": %llu", separator,
				    exit_name(i), buffer.exits.counters[i]);
			separator = ", ";
		}
	}
	lucos_reply(reply, "}");
}

static bool is_processor_of_lucos(unsigned int cpu)
{
	u32 i, count = min_t(u32, buffer.processors.count, LUCOS_MAX_PROCESSORS);

	for (i = 0; i < count; i++)
		if (buffer.processors.apic_ids[i] == cpu_physical_id(cpu))
			return true;
	return false;
}

/* Processors that this kernel knows and LUCOS does not have. */
static void add_outside(struct lucos_reply *reply,
			struct lucos_failure *failure)
{
	const char *separator = "";
	unsigned int cpu;

	lucos_reply(reply, ", \"outside\": [");
	if (read_record(LUCOS_QUERY_PROCESSORS, 0, sizeof(buffer.processors),
			failure)) {
		for_each_present_cpu(cpu) {
			if (is_processor_of_lucos(cpu))
				continue;
			lucos_reply(reply, "%s%u", separator, cpu);
			separator = ", ";
		}
	}
	lucos_reply(reply, "]");
}

bool lucos_report_status(struct lucos_reply *reply,
			 struct lucos_failure *failure)
{
	const struct lucos_system_status *status = &buffer.system;
	bool read;

	mutex_lock(&lucos_patches_lock);
	read = read_record(LUCOS_QUERY_SYSTEM, 0, sizeof(*status), failure);
	if (read) {
		lucos_reply(reply, "{\"interface\": %u, \"release\": ",
			    LUCOS_INTERFACE_VERSION);
		lucos_reply_string(reply, status->release,
				   sizeof(status->release));
		lucos_reply(reply, ", \"extension\": \"%s\"",
			    extension_name(status->extension));
		add_number(reply, "assists", status->assists);
		add_number(reply, "containment", status->containment);
		add_number(reply, "vcpus", status->vcpus);
		add_number(reply, "patches", status->patches);
		add_number(reply, "applied", status->applied);
		add_number(reply, "trapping", status->trapping);
		add_number(reply, "jumping", status->jumping);
		add_number(reply, "overridden", count_all_overridden());
		add_number(reply, "patch_capacity", status->patch_capacity);
		add_number(reply, "restarts", status->restarts);
		add_number(reply, "region_start", status->region_start);
		add_number(reply, "region_size", status->region_size);
		add_number(reply, "stops", status->stops);
		add_number(reply, "longest_stop_ticks", status->longest_stop);
		add_number(reply, "last_stop_ticks", status->last_stop);
		add_number(reply, "messages", status->messages);
		add_number(reply, "hidden_writes", status->hidden_writes);
		add_exits(reply, failure);
		add_outside(reply, failure);
		lucos_reply(reply, "}\n");
	}
	mutex_unlock(&lucos_patches_lock);
	return read;
}

/* What the kernel may go on using after a rollback. */
static void add_kept(struct lucos_reply *reply,
		     const struct lucos_patch *patch)
{
	const struct lucos_patch_kept *kept = (void *)patch->kept;
	unsigned int i;

	lucos_reply(reply, ", \"kept\": [");
	for (i = 0; i < lucos_patch_kept(patch); i++) {
		lucos_reply(reply, "%s{\"what\": ", i ? ", " : "");
		lucos_reply_string(reply, kept[i].what, sizeof(kept[i].what));
		lucos_reply(reply, ", \"how\": ");
		lucos_reply_string(reply, kept[i].how, sizeof(kept[i].how));
		lucos_reply(reply, "}");
	}
	lucos_reply(reply, "]");
}

/* The members that `list` and `show` have in common, without the brace. */
static void add_patch(struct lucos_reply *reply,
		      const struct loaded_patch *loaded)
{
	struct lucos_failure failure;
	u32 position;

	lucos_reply(reply, "{\"name\": ");
	lucos_reply_string(reply, loaded->patch->name, LUCOS_NAME_SIZE);
	lucos_reply(reply, ", \"description\": ");
	lucos_reply_string(reply, loaded->patch->description,
			   LUCOS_DESCRIPTION_SIZE);
	lucos_reply(reply, ", \"module\": \"%s\", \"state\": \"%s\"",
		    loaded->module->name, state_names[loaded->state]);
	add_number(reply, "number", loaded->number);
	add_number(reply, "functions", loaded->count);
	add_number(reply, "overridden", count_overridden(loaded));
	add_kept(reply, loaded->patch);
	if (!find_patch(loaded->number, &position, &failure))
		return;
	add_number(reply, "trapping", buffer.patch.trapping);
	add_number(reply, "jumping", buffer.patch.jumping);
	add_number(reply, "apply_stop_ticks", buffer.patch.apply_stop);
	add_number(reply, "jump_stop_ticks", buffer.patch.jump_stop);
	add_number(reply, "rollback_stop_ticks", buffer.patch.rollback_stop);
}

bool lucos_report_list(struct lucos_reply *reply,
		       struct lucos_failure *failure)
{
	const char *separator = "";
	struct loaded_patch *loaded;

	mutex_lock(&lucos_patches_lock);
	lucos_reply(reply, "{\"patches\": [");
	list_for_each_entry(loaded, &lucos_patches, link) {
		lucos_reply(reply, "%s", separator);
		add_patch(reply, loaded);
		lucos_reply(reply, "}");
		separator = ", ";
	}
	lucos_reply(reply, "]}\n");
	mutex_unlock(&lucos_patches_lock);
	return true;
}

static void add_function(struct lucos_reply *reply,
			 const struct loaded_patch *loaded, unsigned int index)
{
	const struct lucos_function_status *status = &buffer.function;
	const struct loaded_function *function = &loaded->functions[index];
	bool overridden = loaded->state == LOADED_APPLIED &&
			  lucos_slot_overrides(function->site);

	lucos_reply(reply, "{\"name\": ");
	lucos_reply_string(reply, status->name, sizeof(status->name));
	lucos_reply(reply, ", \"module\": \"%s\"",
		    function->owner ? function->owner->name : "");
	lucos_reply(reply, ", \"old\": \"0x%llx\", \"site\": \"0x%llx\"",
		    status->old_start, status->site);
	lucos_reply(reply, ", \"new\": \"0x%llx\", \"state\": \"%s\"",
		    status->new_entry, site_name(status->state));
	lucos_reply(reply, ", \"at_slot\": \"%s\"",
		    function->at_slot ? lucos_error_name(function->at_slot) : "");
	lucos_reply(reply, ", \"reason\": \"%s\"", reason_name(status->reason));
	add_number(reply, "trap_calls", status->trap_calls);
	add_number(reply, "window", status->window);
	add_number(reply, "below", status->below);
	lucos_reply(reply, ", \"overridden\": %s",
		    overridden ? "true" : "false");
	lucos_reply(reply, "}");
}

static bool report_loaded(struct lucos_reply *reply,
			  const struct loaded_patch *loaded,
			  struct lucos_failure *failure)
{
	unsigned int i;
	u32 position;

	add_patch(reply, loaded);
	lucos_reply(reply, ", \"function\": [");
	if (!find_patch(loaded->number, &position, failure))
		return false;
	for (i = 0; i < loaded->count; i++) {
		if (!read_function(position, i, failure))
			return false;
		if (i)
			lucos_reply(reply, ", ");
		add_function(reply, loaded, i);
	}
	lucos_reply(reply, "]}\n");
	return true;
}

bool lucos_report_patch(struct lucos_reply *reply, const char *name,
			struct lucos_failure *failure)
{
	struct loaded_patch *loaded;
	bool found;

	mutex_lock(&lucos_patches_lock);
	loaded = lucos_patches_find(name);
	if (loaded)
		found = report_loaded(reply, loaded, failure);
	else
		found = lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH, name, 0);
	mutex_unlock(&lucos_patches_lock);
	return found;
}

static bool add_log(struct lucos_reply *reply, struct lucos_failure *failure)
{
	struct lucos_registers registers;
	u64 offset = 0, total = 0;
	s64 length;

	lucos_reply(reply, "{\"pieces\": [");
	while (total < LOG_LIMIT) {
		registers = (struct lucos_registers) {
			.rcx = offset,
			.rdx = (unsigned long)&buffer,
			.rsi = sizeof(buffer.log),
		};
		length = lucos_hypercall(LUCOS_CALL_LOG, &registers);
		if (length < 0)
			return lucos_fail(failure, -length, NULL, 0);
		if (!length)
			break;
		lucos_reply(reply, "%s{\"offset\": %llu, \"text\": ",
			    total ? ", " : "", registers.rcx);
		lucos_reply_string(reply, buffer.log,
				   min_t(size_t, length, sizeof(buffer.log)));
		lucos_reply(reply, "}");
		total += length;
		offset = registers.rbx;
	}
	lucos_reply(reply, "], \"next\": %llu}\n", offset);
	return true;
}

bool lucos_report_log(struct lucos_reply *reply, struct lucos_failure *failure)
{
	bool read;

	mutex_lock(&lucos_patches_lock);
	read = add_log(reply, failure);
	mutex_unlock(&lucos_patches_lock);
	return read;
}
