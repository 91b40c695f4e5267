// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/lucos: write one command line, then read the reply until its end.
 *
 *	status			the state of LUCOS
 *	list			the loaded patches
 *	show NAME		one patch with its functions
 *	apply NAME...		put loaded patches in force, in one step
 *	apply-on-probation SECONDS NAME...
 *				... to be taken back when the kernel gets into
 *				trouble within so many seconds
 *	check NAME...		the checks of apply alone
 *	rollback NAME		take a patch back
 *	rollback-with-dependents NAME
 *				... with all that stand on it or need it
 *	outcome MODULE		how the last load of a patch module ended
 *	log			the log of LUCOS, and what became of patches
 *	measure-stop COUNT	stop all processors so many times
 *
 * A reply is records, see lucos/interface.h; one that says why, when the command
 * failed.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "answer.h"
#include "ask.h"
#include "device.h"
#include "load.h"
#include "outcome.h"
#include "probation.h"
#include "registry.h"
#include "rollback.h"
#include "tell.h"

#define LONGEST_COMMAND 1024

/* One open file. */
struct session {
	struct mutex lock;
	struct lucos_answer answer;
};

struct command {
	const char *name;
	bool takes_argument;
	bool (*run)(struct lucos_answer *answer, char *argument,
		    struct lucos_failure *failure);
};

static bool run_status(struct lucos_answer *answer, char *argument,
		       struct lucos_failure *failure)
{
	return lucos_tell_status(answer, failure);
}

static bool run_list(struct lucos_answer *answer, char *argument,
		     struct lucos_failure *failure)
{
	lucos_tell_list(answer);
	return true;
}

static bool run_show(struct lucos_answer *answer, char *argument,
		     struct lucos_failure *failure)
{
	return lucos_tell_patch(answer, argument, failure);
}

static bool run_log(struct lucos_answer *answer, char *argument,
		    struct lucos_failure *failure)
{
	return lucos_tell_log(answer, failure);
}

static bool run_apply(struct lucos_answer *answer, char *argument,
		      struct lucos_failure *failure)
{
	return lucos_load_apply(argument, 0, failure);
}

static bool run_apply_on_probation(struct lucos_answer *answer, char *argument,
				   struct lucos_failure *failure)
{
	char *time = strsep(&argument, " ");
	u32 seconds;

	if (!argument || kstrtou32(time, 10, &seconds) || !seconds ||
	    seconds > LUCOS_LONGEST_PROBATION)
		return lucos_fail(failure, LUCOS_ERROR_ARGUMENT, time, 0);
	return lucos_load_apply(argument, seconds, failure);
}

static bool run_check(struct lucos_answer *answer, char *argument,
		      struct lucos_failure *failure)
{
	return lucos_load_check(argument, failure);
}

static bool run_rollback(struct lucos_answer *answer, char *argument,
			 struct lucos_failure *failure)
{
	return lucos_roll_back(argument, false, answer, failure);
}

static bool run_rollback_all(struct lucos_answer *answer, char *argument,
			     struct lucos_failure *failure)
{
	return lucos_roll_back(argument, true, answer, failure);
}

static bool run_outcome(struct lucos_answer *answer, char *argument,
			struct lucos_failure *failure)
{
	const struct lucos_load_outcome outcome = {
		.verdict = lucos_outcome_take(argument, failure),
	};

	lucos_answer_add(answer, LUCOS_RECORD_OUTCOME, &outcome,
			 sizeof(outcome));
	if (outcome.verdict == LUCOS_VERDICT_REFUSED)
		lucos_answer_add(answer, LUCOS_RECORD_FAILURE, failure,
				 sizeof(*failure));
	return true;
}

static bool run_measure_stop(struct lucos_answer *answer, char *argument,
			     struct lucos_failure *failure)
{
	struct lucos_registers registers = {};
	struct lucos_measured_stops stops;

	if (kstrtou64(argument, 10, &registers.rcx))
		return lucos_fail(failure, LUCOS_ERROR_ARGUMENT, argument, 0);
	if (!lucos_ask(LUCOS_CALL_MEASURE_STOP, &registers, failure))
		return false;
	stops.stops = registers.rbx;
	stops.longest = registers.rcx;
	lucos_answer_add(answer, LUCOS_RECORD_STOPS, &stops, sizeof(stops));
	return true;
}

static const struct command commands[] = {
	{ "status", false, run_status },
	{ "list", false, run_list },
	{ "show", true, run_show },
	{ "apply", true, run_apply },
	{ "apply-on-probation", true, run_apply_on_probation },
	{ "check", true, run_check },
	{ "rollback", true, run_rollback },
	{ "rollback-with-dependents", true, run_rollback_all },
	{ "outcome", true, run_outcome },
	{ "log", false, run_log },
	{ "measure-stop", true, run_measure_stop },
};

static const struct command *find_command(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static bool run(struct lucos_answer *answer, char *line,
		struct lucos_failure *failure)
{
	const struct command *command;
	char *argument = strim(line);
	char *name = strsep(&argument, " ");

	command = find_command(name);
	if (!command || command->takes_argument != !!argument)
		return lucos_fail(failure, LUCOS_ERROR_UNKNOWN_COMMAND, name,
				  0);
	return command->run(answer, argument, failure);
}

/* Runs a command and makes the answer to it. */
static void answer_line(struct lucos_answer *answer, char *line)
{
	struct lucos_failure failure;

	lucos_answer_start(answer);
	lucos_registry_lock();
	if (!run(answer, line, &failure)) {
		lucos_answer_start(answer);
		lucos_answer_add(answer, LUCOS_RECORD_FAILURE, &failure,
				 sizeof(failure));
	}
	lucos_registry_unlock();
	lucos_answer_finish(answer);
}

static int device_open(struct inode *inode, struct file *file)
{
	struct session *session;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	session = kzalloc(sizeof(*session), GFP_KERNEL);
	if (!session)
		return -ENOMEM;
	mutex_init(&session->lock);
	file->private_data = session;
	return 0;
}

static int device_release(struct inode *inode, struct file *file)
{
	struct session *session = file->private_data;

	lucos_answer_free(&session->answer);
	kfree(session);
	return 0;
}

static ssize_t device_write(struct file *file, const char __user *data,
			    size_t length, loff_t *offset)
{
	struct session *session = file->private_data;
	bool failed;
	char *line;

	if (!length || length > LONGEST_COMMAND)
		return -EINVAL;
	line = memdup_user_nul(data, length);
	if (IS_ERR(line))
		return PTR_ERR(line);
	mutex_lock(&session->lock);
	answer_line(&session->answer, line);
	failed = session->answer.failed;
	*offset = 0;
	mutex_unlock(&session->lock);
	kfree(line);
	return failed ? -ENOMEM : length;
}

static ssize_t device_read(struct file *file, char __user *data, size_t length,
			   loff_t *offset)
{
	struct session *session = file->private_data;
	ssize_t done;

	mutex_lock(&session->lock);
	done = simple_read_from_buffer(data, length, offset,
				       session->answer.bytes,
				       session->answer.length);
	mutex_unlock(&session->lock);
	return done;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.read = device_read,
	.write = device_write,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "lucos",
	.fops = &operations,
	.mode = 0600,
};

int lucos_device_start(void)
{
	return misc_register(&device);
}

void lucos_device_stop(void)
{
	misc_deregister(&device);
}
