// SPDX-License-Identifier: MIT OR Apache-2.0
/* Commands to the update manager. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lucos/interface.h>

#include "load.h"

static char reply[65536] __attribute__((aligned(8)));
static size_t length;

/* The next record of a kind behind `last` (NULL: from the start), or NULL. */
static const void *next_record(uint32_t kind, const void *last)
{
	const char *place = reply + sizeof(struct lucos_reply);

	while (place < reply + length) {
		const struct lucos_record *record = (const void *)place;
		const void *body = record + 1;

		if (record->kind == kind && (const char *)body > (const char *)last)
			return body;
		place += sizeof(*record) + record->size;
	}
	return NULL;
}

static uint32_t failure(void)
{
	const struct lucos_failure *record =
		next_record(LUCOS_RECORD_FAILURE, NULL);

	return record ? record->code : 0;
}

const char *manager_complaint(void)
{
	switch (failure()) {
#define CASE(name, number, meaning) case number: return #name;
	LUCOS_ERRORS(CASE)
#undef CASE
	}
	return "nothing";
}

static enum outcome judge(void)
{
	switch (failure()) {
	case 0:
		return OUTCOME_DONE;
	case LUCOS_ERROR_ALREADY_APPLIED:
		return OUTCOME_APPLIED_ALREADY;
	case LUCOS_ERROR_NOT_APPLIED:
		return OUTCOME_NOT_APPLIED;
	case LUCOS_ERROR_STACKED:
		return OUTCOME_STACKED;
	case LUCOS_ERROR_BUSY:
		return OUTCOME_BUSY;
	case LUCOS_ERROR_DEADLINE:
		return OUTCOME_LATE;
	}
	return OUTCOME_OTHER;
}

enum outcome manager(const char *command, int patch)
{
	char line[64];
	int device;
	ssize_t got;

	snprintf(line, sizeof(line), "%s load_%d", command, patch);
	device = open("/dev/lucos", O_RDWR);
	if (device < 0 || write(device, line, strlen(line)) < 0)
		fail("/dev/lucos");
	length = 0;
	while ((got = read(device, reply + length, sizeof(reply) - length)) > 0)
		length += got;
	close(device);
	if (length < sizeof(struct lucos_reply) ||
	    ((const struct lucos_reply *)reply)->version != LUCOS_REPLY_VERSION ||
	    ((const struct lucos_reply *)reply)->length != length)
		fail("reply");
	return judge();
}

bool patch_is(int patch, enum lucos_loaded_state state)
{
	const struct lucos_loaded_patch *loaded;

	if (manager("show", patch) != OUTCOME_DONE)
		return false;
	loaded = next_record(LUCOS_RECORD_LOADED, NULL);
	return loaded && loaded->state == state;
}

bool patch_traps(int patch)
{
	const struct lucos_patch_status *status;

	if (manager("show", patch) != OUTCOME_DONE)
		return true;
	status = next_record(LUCOS_RECORD_PATCH, NULL);
	return !status || status->trapping;
}

int patch_sites(int patch, uint64_t *addresses, int most)
{
	const struct lucos_function_status *site = NULL;
	int count = 0;

	if (manager("show", patch) != OUTCOME_DONE)
		return 0;
	while (count < most && (site = next_record(LUCOS_RECORD_SITE, site)))
		addresses[count++] = site->site;
	return count;
}
