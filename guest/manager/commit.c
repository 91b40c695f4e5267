// SPDX-License-Identifier: GPL-2.0
/* When the data of an update is moved: in a clear moment, or with guards. */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "code.h"
#include "commit.h"
#include "registry.h"
#include "threads.h"
#include "witness.h"

/* How often a clear moment is tried, and the pause between. */
#define TRIES 10
#define PAUSE_US 1000

static bool has_data(const struct lucos_commit *commit)
{
	unsigned int i;

	for (i = 0; i < commit->count; i++)
		if (lucos_versions_any(commit->patches[i]))
			return true;
	return false;
}

static bool must_be_clear(const struct lucos_commit *commit)
{
	unsigned int i;

	for (i = 0; i < commit->count; i++)
		if (lucos_versions_clear_only(commit->patches[i]))
			return true;
	return false;
}

/* The code that is left by those patches whose data moves. */
static int add_code(struct lucos_code *code, const struct lucos_commit *commit)
{
	unsigned int i;
	int error = 0;

	for (i = 0; !error && i < commit->count; i++) {
		const struct loaded_patch *loaded = commit->patches[i];

		if (!lucos_versions_any(loaded))
			continue;
		error = commit->to == LUCOS_TO_TWINS ?
				lucos_code_add_old(code, loaded) :
				lucos_code_add_new(code, loaded);
	}
	return error;
}

/* Says who is inside, as far as somebody is found. */
static void name_occupant(const struct lucos_code *code, void *frame,
			  struct lucos_failure *failure)
{
	const struct lucos_occupant *who;
	struct lucos_search search;
	unsigned int first;

	if (lucos_search_alloc(&search, code->count))
		return;
	memcpy(search.ranges, code->ranges,
	       code->count * sizeof(*code->ranges));
	if (lucos_search_now(&search, frame))
		goto out;
	first = find_first_bit(search.occupied, search.count);
	if (first == search.count)
		goto out;
	who = &search.occupants[first];
	if (who->address)
		scnprintf(failure->subject, sizeof(failure->subject),
			  "%s (%d) at %pS", who->name, who->thread,
			  (void *)who->address);
	else
		scnprintf(failure->subject, sizeof(failure->subject), "%s (%d)",
			  who->name, who->thread);
	failure->detail = 0;
out:
	lucos_search_free(&search);
}

static bool try_clear(const struct lucos_commit *commit,
		      struct lucos_failure *failure)
{
	unsigned int tries;

	for (tries = 0; tries < TRIES; tries++) {
		if (tries)
			usleep_range(PAUSE_US, 2 * PAUSE_US);
		if (commit->ask(commit->context, true, failure))
			return true;
		if (failure->code != LUCOS_ERROR_OCCUPIED)
			return false;
	}
	return false;
}

/*
 * With the witness, whose frame `frame` is older than the addresses in `code`.
 * Says who is inside when there is no other way.
 */
static bool commit_clear(const struct lucos_commit *commit,
			 const struct lucos_code *code, void *frame,
			 struct lucos_failure *failure)
{
	int error = lucos_witness_start(code, frame);
	bool done;

	if (error == -ETIMEDOUT)
		done = lucos_fail(failure, LUCOS_ERROR_OCCUPIED, NULL, 0);
	else if (error)
		done = lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	else
		done = try_clear(commit, failure);
	if (!done && failure->code == LUCOS_ERROR_OCCUPIED &&
	    must_be_clear(commit))
		name_occupant(code, frame, failure);
	return done;
}

static noinline bool commit_with_data(const struct lucos_commit *commit,
				      struct lucos_failure *failure)
{
	void *frame = __builtin_frame_address(0);
	struct lucos_code code = {};
	bool done;

	if (add_code(&code, commit))
		done = lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	else
		done = commit_clear(commit, &code, frame, failure);
	if (!done && failure->code == LUCOS_ERROR_OCCUPIED &&
	    !must_be_clear(commit))
		done = commit->ask(commit->context, false, failure);
	/* Last: this waits for whoever runs in the kernel without a pause. */
	lucos_witness_end();
	lucos_code_free(&code);
	return done;
}

bool lucos_commit(const struct lucos_commit *commit,
		  struct lucos_failure *failure)
{
	if (!has_data(commit))
		return commit->ask(commit->context, false, failure);
	return commit_with_data(commit, failure);
}
