// SPDX-License-Identifier: GPL-2.0
/* What the manager and LUCOS know, as records. */
#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/smp.h>
#include <linux/string.h>

#include <lucos/twin.h>

#include "drain.h"
#include "events.h"
#include "hypercall.h"
#include "patch_records.h"
#include "probation.h"
#include "registry.h"
#include "slot.h"
#include "tell.h"
#include "twins.h"
#include "values.h"
#include "versions.h"

#define LOG_PIECE 4096

/* More than LUCOS keeps: an end for a log that grows while it is read. */
#define LOG_LIMIT (1024 * 1024)

/* LUCOS writes here; the registry's lock is held. */
static union {
	struct lucos_system_status system;
	struct lucos_patch_status patch;
	struct lucos_function_status function;
	struct lucos_value_status value;
	struct lucos_version_status version;
	struct lucos_exit_counters exits;
	struct lucos_processor_list processors;
	char log[LOG_PIECE];
} buffer;

/* Functions whose calls are led elsewhere before they get to LUCOS's site. */
static unsigned int count_overridden(const struct loaded_patch *loaded)
{
	unsigned int i, count = 0;

	if (loaded->state != LUCOS_LOADED_APPLIED)
		return 0;
	for (i = 0; i < loaded->count; i++)
		count += lucos_slot_overrides(loaded->functions[i].site);
	return count;
}

static unsigned int count_all_overridden(void)
{
	struct loaded_patch *loaded;
	unsigned int count = 0;

	list_for_each_entry(loaded, &lucos_registry, link)
		count += count_overridden(loaded);
	return count;
}

static void add_exits(struct lucos_answer *answer)
{
	struct lucos_failure unknown;

	if (lucos_query(LUCOS_QUERY_EXIT_COUNTERS, LUCOS_ALL_PROCESSORS,
			&buffer.exits, sizeof(buffer.exits), &unknown))
		lucos_answer_add(answer, LUCOS_RECORD_EXITS, &buffer.exits,
				 sizeof(buffer.exits));
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
static void add_outside(struct lucos_answer *answer)
{
	struct lucos_failure unknown;
	unsigned int cpu;

	if (!lucos_query(LUCOS_QUERY_PROCESSORS, 0, &buffer.processors,
			 sizeof(buffer.processors), &unknown))
		return;
	for_each_present_cpu(cpu) {
		struct lucos_outside_processor record = { .number = cpu };

		if (!is_processor_of_lucos(cpu))
			lucos_answer_add(answer, LUCOS_RECORD_OUTSIDE, &record,
					 sizeof(record));
	}
}

bool lucos_tell_status(struct lucos_answer *answer,
		       struct lucos_failure *failure)
{
	const struct lucos_manager_status status = {
		.interface = LUCOS_INTERFACE_VERSION,
		.overridden = count_all_overridden(),
	};

	if (!lucos_query(LUCOS_QUERY_SYSTEM, 0, &buffer.system,
			 sizeof(buffer.system), failure))
		return false;
	lucos_answer_add(answer, LUCOS_RECORD_MANAGER, &status, sizeof(status));
	lucos_answer_add(answer, LUCOS_RECORD_SYSTEM, &buffer.system,
			 sizeof(buffer.system));
	add_exits(answer);
	add_outside(answer);
	return true;
}

/* Finds a patch in the list of LUCOS; its record is in the buffer then. */
static bool find_patch(u32 number, u32 *position, struct lucos_failure *failure)
{
	for (*position = 0;
	     lucos_query(LUCOS_QUERY_PATCH, *position, &buffer.patch,
			 sizeof(buffer.patch), failure);
	     ++*position)
		if (buffer.patch.number == number)
			return true;
	return false;
}

/* What the kernel may go on using after a rollback. */
static void add_kept(struct lucos_answer *answer,
		     const struct lucos_patch *patch)
{
	const struct lucos_patch_kept *kept = (void *)patch->kept;
	unsigned int i;

	for (i = 0; i < lucos_patch_kept(patch); i++) {
		struct lucos_patch_kept record = {};

		strscpy(record.what, kept[i].what, sizeof(record.what));
		strscpy(record.how, kept[i].how, sizeof(record.how));
		lucos_answer_add(answer, LUCOS_RECORD_KEPT, &record,
				 sizeof(record));
	}
}

static void add_twins(struct lucos_answer *answer,
		      const struct loaded_patch *loaded)
{
	unsigned int i;

	for (i = 0; i < lucos_twins_kinds(loaded); i++) {
		const struct lucos_twins *twins = lucos_twins_kind(loaded, i);
		struct lucos_twin_count record = {
			.count = lucos_twins_count(twins),
		};

		strscpy(record.name, twins->name, sizeof(record.name));
		lucos_answer_add(answer, LUCOS_RECORD_TWINS, &record,
				 sizeof(record));
	}
}

/* Twins whose state is carried. */
static void add_carried(struct lucos_answer *answer,
			const struct loaded_patch *loaded)
{
	unsigned int i;

	for (i = 0; i < lucos_versions_count(loaded->patch); i++) {
		const struct lucos_version *version =
			lucos_versions_get(loaded->patch, i);
		struct lucos_twin_count record = {
			.count = lucos_version_twins(version),
		};

		if (lucos_version_is_variable(version))
			continue;
		lucos_versions_name(loaded->patch, i, record.name);
		lucos_answer_add(answer, LUCOS_RECORD_TWINS, &record,
				 sizeof(record));
	}
}

static void add_probation(struct lucos_answer *answer,
			  const struct loaded_patch *loaded)
{
	const struct lucos_probation record = {
		.seconds = lucos_probation_left(loaded),
	};

	if (record.seconds)
		lucos_answer_add(answer, LUCOS_RECORD_PROBATION, &record,
				 sizeof(record));
}

/* Who stands in the way, if anybody does. */
static void add_inside(struct lucos_answer *answer,
		       const struct loaded_inside *inside)
{
	struct lucos_inside record = { .thread = inside->who.thread };

	if (!inside->since)
		return;
	record.seconds = ktime_get_boottime_seconds() - inside->since;
	strscpy(record.name, inside->who.name, sizeof(record.name));
	if (inside->who.address)
		scnprintf(record.place, sizeof(record.place), "%pS",
			  (void *)inside->who.address);
	lucos_answer_add(answer, LUCOS_RECORD_INSIDE, &record, sizeof(record));
}

static enum lucos_loaded_state state_of(const struct loaded_patch *loaded)
{
	return lucos_drain_waits_for_old(loaded) ? LUCOS_LOADED_SETTLING :
						   loaded->state;
}

/* A patch, with its position in the list of LUCOS; false when it has none. */
static bool add_patch(struct lucos_answer *answer,
		      const struct loaded_patch *loaded, u32 *position,
		      struct lucos_failure *failure)
{
	struct lucos_loaded_patch record = {
		.state = state_of(loaded),
		.number = loaded->number,
		.functions = loaded->count,
		.overridden = count_overridden(loaded),
	};
	bool found;

	strscpy(record.name, loaded->patch->name, sizeof(record.name));
	strscpy(record.module, loaded->module->name, sizeof(record.module));
	strscpy(record.description, loaded->patch->description,
		sizeof(record.description));
	lucos_answer_add(answer, LUCOS_RECORD_LOADED, &record, sizeof(record));
	found = find_patch(loaded->number, position, failure);
	if (found)
		lucos_answer_add(answer, LUCOS_RECORD_PATCH, &buffer.patch,
				 sizeof(buffer.patch));
	add_probation(answer, loaded);
	add_kept(answer, loaded->patch);
	add_twins(answer, loaded);
	add_carried(answer, loaded);
	if (loaded->state == LUCOS_LOADED_DRAINING ||
	    lucos_versions_sides(loaded) == LUCOS_SIDES_BOTH)
		add_inside(answer, &loaded->inside);
	return found;
}

void lucos_tell_list(struct lucos_answer *answer)
{
	struct loaded_patch *loaded;
	struct lucos_failure unknown;
	u32 position;

	list_for_each_entry(loaded, &lucos_registry, link)
		add_patch(answer, loaded, &position, &unknown);
}

static bool add_function(struct lucos_answer *answer,
			 const struct loaded_patch *loaded, u32 position,
			 unsigned int index, struct lucos_failure *failure)
{
	const struct loaded_function *function = &loaded->functions[index];
	struct lucos_loaded_function record = {
		.at_slot = function->at_slot,
		.overridden = loaded->state == LUCOS_LOADED_APPLIED &&
			      lucos_slot_overrides(function->site),
	};

	if (function->owner)
		strscpy(record.module, function->owner->name,
			sizeof(record.module));
	if (!lucos_query(LUCOS_QUERY_FUNCTION, (u64)position << 32 | index,
			 &buffer.function, sizeof(buffer.function), failure))
		return false;
	lucos_answer_add(answer, LUCOS_RECORD_FUNCTION, &record,
			 sizeof(record));
	lucos_answer_add(answer, LUCOS_RECORD_SITE, &buffer.function,
			 sizeof(buffer.function));
	if (loaded->state == LUCOS_LOADED_APPLIED && !function->settled)
		add_inside(answer, &function->inside);
	return true;
}

static bool query_value(u32 position, unsigned int index,
			struct lucos_failure *failure)
{
	return lucos_query(LUCOS_QUERY_VALUE, (u64)position << 32 | index,
			   &buffer.value, sizeof(buffer.value), failure);
}

static bool add_values(struct lucos_answer *answer,
		       const struct loaded_patch *loaded, u32 position,
		       struct lucos_failure *failure)
{
	unsigned int i, count = lucos_values_count(loaded->patch);

	for (i = 0; i < count; i++) {
		if (!query_value(position, i, failure))
			return false;
		lucos_answer_add(answer, LUCOS_RECORD_VALUE, &buffer.value,
				 sizeof(buffer.value));
	}
	return true;
}

static bool add_versions(struct lucos_answer *answer,
			 const struct loaded_patch *loaded, u32 position,
			 struct lucos_failure *failure)
{
	unsigned int i;

	for (i = 0; i < lucos_versions_count(loaded->patch); i++) {
		if (!lucos_query(LUCOS_QUERY_VERSION, (u64)position << 32 | i,
				 &buffer.version, sizeof(buffer.version),
				 failure))
			return false;
		lucos_answer_add(answer, LUCOS_RECORD_VERSION, &buffer.version,
				 sizeof(buffer.version));
	}
	return true;
}

void lucos_tell_left(struct lucos_answer *answer,
		     const struct loaded_patch *loaded)
{
	unsigned int i, count = lucos_values_count(loaded->patch);
	struct lucos_failure unknown;
	u32 position;

	if (!count || !find_patch(loaded->number, &position, &unknown))
		return;
	for (i = 0; i < count; i++)
		if (query_value(position, i, &unknown) &&
		    buffer.value.state == LUCOS_VALUE_OVERWRITTEN)
			lucos_answer_add(answer, LUCOS_RECORD_VALUE,
					 &buffer.value, sizeof(buffer.value));
}

bool lucos_tell_patch(struct lucos_answer *answer, const char *name,
		      struct lucos_failure *failure)
{
	const struct loaded_patch *loaded = lucos_registry_find(name);
	unsigned int i;
	u32 position;

	if (!loaded)
		return lucos_fail(failure, LUCOS_ERROR_UNKNOWN_PATCH, name, 0);
	if (!add_patch(answer, loaded, &position, failure))
		return false;
	for (i = 0; i < loaded->count; i++)
		if (!add_function(answer, loaded, position, i, failure))
			return false;
	return add_values(answer, loaded, position, failure) &&
	       add_versions(answer, loaded, position, failure);
}

bool lucos_tell_log(struct lucos_answer *answer, struct lucos_failure *failure)
{
	u64 offset = 0, total = 0;

	while (total < LOG_LIMIT) {
		struct lucos_registers registers = {
			.rcx = offset,
			.rdx = (unsigned long)buffer.log,
			.rsi = sizeof(buffer.log),
		};

		if (!lucos_hypercall(LUCOS_CALL_LOG, &registers, failure))
			return false;
		if (!registers.rax)
			break;
		lucos_answer_add_log(answer, registers.rcx, buffer.log,
				     min_t(u64, registers.rax,
					   sizeof(buffer.log)));
		total += registers.rax;
		offset = registers.rbx;
	}
	lucos_events_tell(answer);
	return true;
}
