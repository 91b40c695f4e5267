// SPDX-License-Identifier: MIT OR Apache-2.0
/* Commands to the update manager. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

static char reply[32768];

const char *manager_reply(void)
{
	return reply;
}

static enum outcome judge(void)
{
	static const struct {
		const char *code;
		enum outcome outcome;
	} errors[] = {
		{ "\"ALREADY_APPLIED\"", OUTCOME_APPLIED_ALREADY },
		{ "\"NOT_APPLIED\"", OUTCOME_NOT_APPLIED },
		{ "\"STACKED\"", OUTCOME_STACKED },
		{ "\"BUSY\"", OUTCOME_BUSY },
		{ "\"DEADLINE\"", OUTCOME_LATE },
	};

	if (strncmp(reply, "{\"error\"", 8))
		return OUTCOME_DONE;
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (strstr(reply, errors[i].code))
			return errors[i].outcome;
	return OUTCOME_OTHER;
}

enum outcome manager(const char *command, int patch)
{
	size_t length = 0;
	char line[64];
	int device;
	ssize_t got;

	snprintf(line, sizeof(line), "%s load_%d", command, patch);
	device = open("/dev/lucos", O_RDWR);
	if (device < 0 || write(device, line, strlen(line)) < 0)
		fail("/dev/lucos");
	while ((got = read(device, reply + length,
			   sizeof(reply) - 1 - length)) > 0)
		length += got;
	reply[length] = '\0';
	close(device);
	return judge();
}

bool patch_has(int patch, const char *text)
{
	return manager("show", patch) == OUTCOME_DONE && strstr(reply, text);
}
