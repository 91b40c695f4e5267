// SPDX-License-Identifier: GPL-2.0
/* Which patches cannot stay without which others. */
#include <linux/list.h>
#include <linux/string.h>

#include <lucos/patch.h>

#include "needs.h"
#include "patch_records.h"
#include "probation.h"
#include "registry.h"
#include "values.h"
#include "versions.h"

static bool declares(const struct lucos_patch *patch, const char *name)
{
	const struct lucos_dependency *dependencies =
		(void *)patch->dependencies;
	unsigned int i;

	for (i = 0; i < lucos_patch_dependencies(patch); i++)
		if (!strncmp(dependencies[i].name, name, LUCOS_NAME_SIZE))
			return true;
	return false;
}

bool lucos_needs(const struct loaded_patch *later,
		 const struct loaded_patch *earlier)
{
	return declares(later->patch, earlier->patch->name) ||
	       lucos_share_site(later, earlier) ||
	       lucos_values_meet(later->patch, earlier->patch);
}

/* A patch that may be withdrawn, and that this one needs; or NULL. */
static const struct loaded_patch *shaky_ground(const struct loaded_patch *loaded)
{
	const struct loaded_patch *below;

	list_for_each_entry(below, &lucos_registry, link)
		if (below != loaded && below->shaky &&
		    lucos_needs(loaded, below))
			return below;
	return NULL;
}

/* Takes note of every patch that a withdrawal may take along. */
static void find_shaky(void)
{
	struct loaded_patch *loaded;
	bool more = true;

	list_for_each_entry(loaded, &lucos_registry, link)
		loaded->shaky = loaded->state == LUCOS_LOADED_APPLIED &&
				lucos_probation_left(loaded);
	while (more) {
		more = false;
		list_for_each_entry(loaded, &lucos_registry, link) {
			const struct loaded_patch *below;

			if (loaded->shaky ||
			    loaded->state != LUCOS_LOADED_APPLIED)
				continue;
			below = shaky_ground(loaded);
			loaded->shaky = below && below->number < loaded->number;
			more |= loaded->shaky;
		}
	}
}

bool lucos_needs_no_trial(struct loaded_patch *const *patches,
			  unsigned int count, struct lucos_failure *failure)
{
	unsigned int i;

	find_shaky();
	for (i = 0; i < count; i++) {
		const struct loaded_patch *below = shaky_ground(patches[i]);

		if (below && lucos_versions_any(patches[i]))
			return lucos_fail(failure, LUCOS_ERROR_ON_PROBATION,
					  below->patch->name, 0);
		patches[i]->shaky = below;
	}
	return true;
}
