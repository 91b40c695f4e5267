/* SPDX-License-Identifier: GPL-2.0 */
#define module_param(name, type, permissions) \
	static void *const stub_parameter_##name __used = &name
#define MODULE_PARM_DESC(name, text)
