/* SPDX-License-Identifier: GPL-2.0 */
#include <stdbool.h>
#include <stddef.h>

struct module;
extern struct module __this_module;
#define THIS_MODULE (&__this_module)
#define STUB_TEXT_(line, text)						\
	static const char stub_##line[] __used __section(".modinfo") = text
#define STUB_TEXT(line, text)	STUB_TEXT_(line, text)
#define MODULE_INFO(tag, text)	STUB_TEXT(__COUNTER__, #tag "=" text)
#define MODULE_LICENSE(text)	MODULE_INFO(license, text)
#define MODULE_DESCRIPTION(text) MODULE_INFO(description, text)
#define module_init(function) \
	int init_module(void) __attribute__((alias(#function)))
#define module_exit(function) \
	void cleanup_module(void) __attribute__((alias(#function)))
