// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/lucos: write one command line, then read the reply until its end.
 *
 *	status			the state of LUCOS
 *	list			the loaded patches
 *	show NAME		one patch with its functions
 *	apply NAME		put a loaded patch in force again
 *	check NAME		the checks of apply alone
 *	rollback NAME		take a patch back
 *	outcome MODULE		how the last load of a patch module ended
 *	log			the log of LUCOS
 *	measure-stop COUNT	stop all processors so many times
 *
 * A reply is one JSON object; {"error": {...}} when the command failed.
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

#include "device.h"
#include "hypercall.h"
#include "outcome.h"
#include "patches.h"
#include "reply.h"
#include "report.h"
#include "rollback.h"

#define LONGEST_COMMAND 256

/* One open file. */
struct session {
	struct mutex lock;
	struct lucos_reply reply;
};

struct command {
	const char *name;
	bool takes_argument;
	bool (*run)(struct lucos_reply *reply, const char *argument,
		    struct lucos_failure *failure);
};

static bool run_status(struct lucos_reply *reply, const char *argument,
		       struct lucos_failure *failure)
{
	return lucos_report_status(reply, failure);
}

static bool run_list(struct lucos_reply *reply, const char *argument,
		     struct lucos_failure *failure)
{
	return lucos_report_list(reply, failure);
}

static bool run_show(struct lucos_reply *reply, const char *argument,
		     struct lucos_failure *failure)
{
	return lucos_report_patch(reply, argument, failure);
}

static bool run_log(struct lucos_reply *reply, const char *argument,
		    struct lucos_failure *failure)
{
	return lucos_report_log(reply, failure);
}

/* What was done to a patch. */
static bool reply_done(struct lucos_reply *reply, const char *what,
		       const char *name)
{
	lucos_reply(reply, "{\"%s\": ", what);
	lucos_reply_string(reply, name, strlen(name));
	lucos_reply(reply, "}\n");
	return true;
}

static bool run_apply(struct lucos_reply *reply, const char *argument,
		      struct lucos_failure *failure)
{
	if (!lucos_patches_apply(argument, false, failure))
		return false;
	return reply_done(reply, "applied", argument);
}

static bool run_check(struct lucos_reply *reply, const char *argument,
		      struct lucos_failure *failure)
{
	if (!lucos_patches_apply(argument, true, failure))
		return false;
	return reply_done(reply, "checked", argument);
}

static bool run_rollback(struct lucos_reply *reply, const char *argument,
			 struct lucos_failure *failure)
{
	if (!lucos_patches_rollback(argument, failure))
		return false;
	return reply_done(reply, "rolled_back", argument);
}

/* {} when the load went well or is not known. */
static bool run_outcome(struct lucos_reply *reply, const char *argument,
			struct lucos_failure *failure)
{
	mutex_lock(&lucos_patches_lock);
	if (!lucos_outcome_take(argument, failure))
		failure->code = 0;
	mutex_unlock(&lucos_patches_lock);
	if (failure->code)
		return false;
	lucos_reply(reply, "{}\n");
	return true;
}

static bool run_measure_stop(struct lucos_reply *reply, const char *argument,
			     struct lucos_failure *failure)
{
	struct lucos_registers registers = {};
	s64 result;

	if (kstrtou64(argument, 10, &registers.rcx))
		return lucos_fail(failure, LUCOS_ERROR_ARGUMENT, argument, 0);
	mutex_lock(&lucos_patches_lock);
	result = lucos_patient_hypercall(LUCOS_CALL_MEASURE_STOP, &registers,
					 failure);
	mutex_unlock(&lucos_patches_lock);
	if (result < 0)
		return false;
	lucos_reply(reply, "{\"stops\": %llu, \"longest_ticks\": %llu}\n",
		    registers.rbx, registers.rcx);
	return true;
}

static const struct command commands[] = {
	{ "status", false, run_status },
	{ "list", false, run_list },
	{ "show", true, run_show },
	{ "apply", true, run_apply },
	{ "check", true, run_check },
	{ "rollback", true, run_rollback },
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

static void run(struct lucos_reply *reply, char *line)
{
	struct lucos_failure failure = {};
	const struct command *command;
	char *argument = strim(line);
	char *name = strsep(&argument, " ");

	command = find_command(name);
	if (!command || command->takes_argument != !!argument)
		lucos_fail(&failure, LUCOS_ERROR_UNKNOWN_COMMAND, name, 0);
	else if (command->run(reply, argument, &failure))
		return;
	lucos_reply_failure(reply, &failure);
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

	lucos_reply_free(&session->reply);
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
	lucos_reply_reset(&session->reply);
	run(&session->reply, line);
	failed = session->reply.failed;
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
				       session->reply.text,
				       session->reply.length);
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
