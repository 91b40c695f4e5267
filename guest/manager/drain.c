// SPDX-License-Identifier: GPL-2.0
/* The end of guards: nobody is inside the code any more that an update left. */
#include "ask.h"
#include "code.h"
#include "drain.h"
#include "registry.h"
#include "step.h"
#include "versions.h"

bool lucos_drain_waits_for_old(const struct loaded_patch *loaded)
{
	return loaded->state == LUCOS_LOADED_APPLIED &&
	       lucos_versions_sides(loaded) == LUCOS_SIDES_BOTH;
}

bool lucos_drain_waits_for_new(const struct loaded_patch *loaded)
{
	return (loaded->state == LUCOS_LOADED_DRAINING ||
		loaded->state == LUCOS_LOADED_KEPT) &&
	       lucos_versions_sides(loaded) == LUCOS_SIDES_BOTH;
}

unsigned int lucos_drain_ranges(struct loaded_patch *loaded)
{
	if (!lucos_drain_waits_for_old(loaded))
		return 0;
	if (!loaded->old_code.count &&
	    lucos_code_add_old(&loaded->old_code, loaded))
		lucos_code_free(&loaded->old_code);
	return loaded->old_code.count;
}

static bool ask(const struct loaded_patch *loaded, u64 code,
		struct lucos_failure *failure)
{
	struct lucos_registers registers = {
		.rcx = loaded->number,
		.rdx = code,
	};

	return lucos_ask(LUCOS_CALL_DRAINED, &registers, failure);
}

bool lucos_drain_old(struct loaded_patch *loaded)
{
	struct lucos_failure failure;

	lucos_versions_reconcile(loaded);
	if (ask(loaded, LUCOS_DRAINED_OLD, &failure)) {
		lucos_versions_drained(loaded);
		lucos_code_free(&loaded->old_code);
		return true;
	}
	/* A transfer function has failed meanwhile. */
	if (failure.code == LUCOS_ERROR_NOT_APPLIED)
		lucos_step_withdrawn(LUCOS_CAUSE_TRANSFER);
	return false;
}

bool lucos_drain_new(struct loaded_patch *loaded)
{
	struct lucos_failure failure;

	if (!lucos_drain_waits_for_new(loaded))
		return true;
	if (!ask(loaded, LUCOS_DRAINED_NEW, &failure))
		return false;
	lucos_versions_drained(loaded);
	return true;
}
