// SPDX-License-Identifier: GPL-2.0
/*
 * The update manager of LUCOS: the part that runs inside the guest kernel and
 * knows what a function, a module and a thread are there.
 */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/errno.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/reboot.h>

#include "device.h"
#include "hypercall.h"
#include "nmi.h"
#include "probation.h"
#include "registration.h"
#include "registry.h"
#include "rollback.h"
#include "settle.h"
#include "symbols.h"
#include "tables.h"
#include "threads.h"

/*
 * The kernel goes down, or starts another one by kexec. LUCOS must forget the
 * sites of this kernel, and may only do so when its own bytes are gone from
 * the text: code that runs on the way down would meet them.
 */
static int kernel_goes_down(struct notifier_block *block, unsigned long event,
			    void *data)
{
	/* Until LUCOS has heard of it, nothing else may be applied. */
	lucos_registry_lock();
	if (lucos_roll_back_all())
		lucos_unregister(LUCOS_UNREGISTER_KERNEL_DOWN);
	lucos_registry_unlock();
	return NOTIFY_DONE;
}

static struct notifier_block reboot_notifier = {
	.notifier_call = kernel_goes_down,
	/* Last, so that others still run with the patches. */
	.priority = INT_MIN,
};

static int find_lucos(void)
{
	int error = lucos_detect();

	if (error == -ENODEV)
		pr_err("LUCOS is not underneath: this kernel runs on the bare machine or on another hypervisor\n");
	if (error == -EPROTO)
		pr_err("LUCOS speaks another version of the interface than %u\n",
		       LUCOS_INTERFACE_VERSION);
	return error;
}

static int __init lucos_init(void)
{
	int error;

	error = find_lucos();
	if (error)
		return error;
	error = lucos_find_symbols();
	if (error)
		return error;
	error = lucos_tables_start();
	if (error)
		return error;
	error = lucos_settle_start();
	if (error)
		goto stop_tables;
	error = lucos_nmi_start();
	if (error)
		goto stop_settle;
	error = lucos_register();
	if (error)
		goto stop_nmi;
	error = register_reboot_notifier(&reboot_notifier);
	if (error)
		goto unregister;
	error = lucos_probation_start();
	if (error)
		goto stop_notifier;
	error = lucos_device_start();
	if (error)
		goto stop_probation;
	pr_info("registered with LUCOS\n");
	return 0;

stop_probation:
	lucos_probation_stop();
stop_notifier:
	unregister_reboot_notifier(&reboot_notifier);
unregister:
	lucos_unregister(LUCOS_UNREGISTER_MANAGER_UNLOAD);
stop_nmi:
	lucos_nmi_stop();
stop_settle:
	lucos_settle_stop();
stop_tables:
	lucos_tables_stop();
	return error;
}

/* No patch is loaded any more: each holds a reference on this module. */
static void __exit lucos_exit(void)
{
	lucos_device_stop();
	lucos_probation_stop();
	unregister_reboot_notifier(&reboot_notifier);
	lucos_settle_stop();
	lucos_threads_stop();
	lucos_unregister(LUCOS_UNREGISTER_MANAGER_UNLOAD);
	lucos_nmi_stop();
	lucos_tables_stop();
}

module_init(lucos_init);
module_exit(lucos_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Update manager of the LUCOS hypervisor");
