// SPDX-License-Identifier: MIT OR Apache-2.0
/* The patches' modules. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

static bool run(const char *command, const char *verb, const char *argument)
{
	int child = fork(), status;

	if (!child) {
		int nothing = open("/dev/null", O_WRONLY);

		dup2(nothing, 1);
		if (verb)
			execlp(command, command, verb, argument, NULL);
		else
			execlp(command, command, argument, NULL);
		_exit(127);
	}
	return waitpid(child, &status, 0) == child && status == 0;
}

bool load_and_apply(int patch)
{
	char path[64];

	snprintf(path, sizeof(path), "/lib/lucos/modules/load_%d.ko", patch);
	return run("lucos", "apply", path);
}

#define TRIES 600
#define PAUSE_US 50000

bool wait_for_jumps(int patch)
{
	for (int i = 0; i < TRIES; i++) {
		if (!patch_traps(patch))
			return true;
		usleep(PAUSE_US);
	}
	return false;
}

/* Waits until nobody is in the patch's code. */
static bool wait_until_unused(int patch)
{
	for (int i = 0; i < TRIES; i++) {
		if (patch_is(patch, LUCOS_LOADED_UNUSED))
			return true;
		usleep(PAUSE_US);
	}
	return false;
}

bool unload(int patch)
{
	char name[16];

	snprintf(name, sizeof(name), "load_%d", patch);
	return wait_until_unused(patch) && run("rmmod", NULL, name);
}

void load_patches(void)
{
	for (int patch = 1; patch <= PATCHES; patch++) {
		if (!load_and_apply(patch))
			fail("lucos apply");
		if (patch == PATCHES)
			find_sites();
		if (manager("rollback", patch) != OUTCOME_DONE)
			fail("rollback");
	}
	read_sites();
}
