// SPDX-License-Identifier: GPL-2.0
/* What is loaded: every patch module, and what is known of its functions. */
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/string.h>

#include "registry.h"

static DEFINE_MUTEX(lock);

LIST_HEAD(lucos_registry);

void lucos_registry_lock(void)
{
	mutex_lock(&lock);
}

void lucos_registry_unlock(void)
{
	mutex_unlock(&lock);
}

struct loaded_patch *lucos_registry_find(const char *name)
{
	struct loaded_patch *loaded;

	list_for_each_entry(loaded, &lucos_registry, link)
		if (!strncmp(loaded->patch->name, name, LUCOS_NAME_SIZE))
			return loaded;
	return NULL;
}

struct loaded_patch *lucos_registry_find_patch(const struct lucos_patch *patch)
{
	struct loaded_patch *loaded;

	list_for_each_entry(loaded, &lucos_registry, link)
		if (loaded->patch == patch)
			return loaded;
	return NULL;
}

bool lucos_registry_owns_site(unsigned long address)
{
	struct loaded_patch *loaded;
	unsigned int i;

	list_for_each_entry(loaded, &lucos_registry, link) {
		if (loaded->state != LUCOS_LOADED_APPLIED && !loaded->pending)
			continue;
		for (i = 0; i < loaded->count; i++)
			if (loaded->functions[i].site == address)
				return true;
	}
	return false;
}
