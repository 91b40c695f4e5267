// SPDX-License-Identifier: GPL-2.0
/*
 * The code that an update leaves: what a patch replaces, or what it is.
 *
 * The compiler puts what is seldom executed of a function elsewhere (NAME.cold),
 * or what is left of one that is inlined in part (NAME.part.N). The kernel's
 * symbols do not tell of which object they are; of several all are taken.
 */
#include <linux/errno.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/version.h>

#include "code.h"
#include "module_text.h"
#include "patch_records.h"
#include "registry.h"
#include "symbols.h"

#define FIRST_CAPACITY 16

static int add(struct lucos_code *code, unsigned long start, unsigned long end)
{
	unsigned int capacity = max(2 * code->capacity,
				    (unsigned int)FIRST_CAPACITY);
	struct lucos_range *ranges;

	if (code->count == code->capacity) {
		ranges = krealloc_array(code->ranges, capacity, sizeof(*ranges),
					GFP_KERNEL);
		if (!ranges)
			return -ENOMEM;
		code->ranges = ranges;
		code->capacity = capacity;
	}
	code->ranges[code->count++] = (struct lucos_range) {
		.start = start,
		.end = end,
	};
	return 0;
}

static int add_module(struct lucos_code *code, const struct module *module)
{
	unsigned long text = lucos_module_text(module);

	return add(code, text, text + lucos_module_text_size(module));
}

/* Whether a symbol is a part of one of these functions. */
static bool is_part_of(const char *symbol, const struct loaded_patch *loaded,
		       const struct module *owner)
{
	unsigned int i;

	for (i = 0; i < loaded->count; i++) {
		const char *name = lucos_patch_function(loaded->patch, i)->name;
		size_t length;

		if (loaded->functions[i].owner != owner)
			continue;
		length = str_has_prefix(symbol, name);
		if (length && (str_has_prefix(symbol + length, ".cold") ||
			       str_has_prefix(symbol + length, ".part.")))
			return true;
	}
	return false;
}

/* What the search through symbols is about. */
struct parts {
	struct lucos_code *code;
	const struct loaded_patch *loaded;
	const struct module *owner;	/* whose symbols; NULL: the kernel's */
};

static int add_part(struct parts *parts, const char *name, unsigned long address)
{
	unsigned long size, offset;

	if (!is_part_of(name, parts->loaded, parts->owner) ||
	    !lucos_symbols.kallsyms_lookup_size_offset(address, &size, &offset))
		return 0;
	return add(parts->code, address, address + size - offset);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
static int add_symbol(void *data, const char *name, unsigned long address)
{
	return add_part(data, name, address);
}

static int each_symbol_of_module(struct parts *parts)
{
	return lucos_symbols.module_kallsyms_on_each_symbol(parts->owner->name,
							    add_symbol, parts);
}
#else
static int add_symbol(void *data, const char *name, struct module *module,
		      unsigned long address)
{
	const struct parts *parts = data;

	return module == parts->owner ? add_part(data, name, address) : 0;
}

static int each_symbol_of_module(struct parts *parts)
{
	return lucos_symbols.module_kallsyms_on_each_symbol(add_symbol, parts);
}
#endif

static bool is_first_of_owner(const struct loaded_patch *loaded,
			      unsigned int index)
{
	unsigned int i;

	for (i = 0; i < index; i++)
		if (loaded->functions[i].owner == loaded->functions[index].owner)
			return false;
	return true;
}

/* Goes through the symbols of the kernel, and of each module, once. */
static int add_parts(struct lucos_code *code, const struct loaded_patch *loaded)
{
	struct parts parts = { .code = code, .loaded = loaded };
	unsigned int i;
	int error = 0;

	for (i = 0; !error && i < loaded->count; i++) {
		if (!is_first_of_owner(loaded, i))
			continue;
		parts.owner = loaded->functions[i].owner;
		error = parts.owner ?
				each_symbol_of_module(&parts) :
				lucos_symbols.kallsyms_on_each_symbol(add_symbol,
								      &parts);
	}
	return error;
}

bool lucos_share_site(const struct loaded_patch *a,
		      const struct loaded_patch *b)
{
	unsigned int i, j;

	for (i = 0; i < a->count; i++)
		for (j = 0; j < b->count; j++)
			if (a->functions[i].site == b->functions[j].site)
				return true;
	return false;
}

/* Calls that began before the patch came have gone to those below it. */
static int add_below(struct lucos_code *code, const struct loaded_patch *loaded)
{
	const struct loaded_patch *below;
	int error = 0;

	list_for_each_entry(below, &lucos_registry, link) {
		if (error)
			break;
		if (below != loaded && below->state == LUCOS_LOADED_APPLIED &&
		    lucos_share_site(below, loaded))
			error = lucos_code_add_new(code, below);
	}
	return error;
}

int lucos_code_add_old(struct lucos_code *code,
		       const struct loaded_patch *loaded)
{
	unsigned int i;
	int error = 0;

	for (i = 0; !error && i < loaded->count; i++) {
		unsigned long start =
			lucos_patch_function(loaded->patch, i)->old_start;

		/* The entry itself leads to the site. */
		error = add(code, start + 1,
			    start + loaded->functions[i].old_size);
	}
	if (!error)
		error = add_parts(code, loaded);
	return error ?: add_below(code, loaded);
}

int lucos_code_add_new(struct lucos_code *code,
		       const struct loaded_patch *loaded)
{
	unsigned int i;
	int error;

	error = add_module(code, loaded->module);
	for (i = 0; !error && i < loaded->count; i++)
		error = add(code, loaded->functions[i].site,
			    loaded->functions[i].site + 1);
	return error;
}

void lucos_code_free(struct lucos_code *code)
{
	kfree(code->ranges);
	memset(code, 0, sizeof(*code));
}
