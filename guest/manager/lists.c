// SPDX-License-Identifier: GPL-2.0
/* The pairs of a data version in the order in which LUCOS reads them. */
#include <linux/align.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include <lucos/version.h>

#include "lists.h"

/* Half of a place of the stage begins where any type may. */
#define HALF_ALIGNMENT 8

/* The pages on which so many bytes can lie. */
static size_t pages_of(u32 size)
{
	return DIV_ROUND_UP(size - 1, PAGE_SIZE) + 1;
}

/* Zeroed memory on pages of its own, which are not in a hurry. */
static void *allocate(size_t count, size_t size)
{
	size_t bytes = array_size(count, size);

	return bytes == SIZE_MAX ? NULL : vzalloc(bytes);
}

bool lucos_lists_make(struct lucos_lists *lists,
		      const struct lucos_version *version,
		      unsigned int capacity)
{
	u32 largest = max(version->object_size, version->twin_size);

	memset(lists, 0, sizeof(*lists));
	INIT_LIST_HEAD(&lists->link);
	lists->version = version;
	lists->capacity = capacity;
	/* For either direction. */
	lists->stage_step = 2 * ALIGN(largest, HALF_ALIGNMENT);
	if (!capacity)
		return true;
	lists->by_object = allocate(capacity, sizeof(*lists->by_object));
	lists->by_twin = allocate(capacity, sizeof(*lists->by_twin));
	lists->pages = allocate(array_size(capacity,
					   pages_of(version->object_size) +
					   pages_of(version->twin_size)),
				sizeof(*lists->pages));
	lists->stage = allocate(capacity, lists->stage_step);
	if (lists->by_object && lists->by_twin && lists->pages && lists->stage)
		return true;
	lucos_lists_free(lists);
	return false;
}

void lucos_lists_free(struct lucos_lists *lists)
{
	vfree(lists->by_object);
	vfree(lists->by_twin);
	vfree(lists->pages);
	vfree(lists->stage);
	memset(lists, 0, sizeof(*lists));
	INIT_LIST_HEAD(&lists->link);
}

bool lucos_lists_add(struct lucos_lists *lists, const void *object,
		     const void *twin)
{
	if (lists->count == lists->capacity)
		return false;
	lists->by_object[lists->count++] = (struct lucos_pair_addresses) {
		.object = (unsigned long)object,
		.twin = (unsigned long)twin,
	};
	return true;
}

static int in_order(u64 a, u64 b)
{
	return a < b ? -1 : a > b;
}

static int compare_objects(const void *a, const void *b)
{
	const struct lucos_pair_addresses *one = a, *other = b;

	return in_order(one->object, other->object);
}

static int compare_twins(const void *a, const void *b)
{
	const struct lucos_pair_addresses *one = a, *other = b;

	return in_order(one->twin, other->twin);
}

static int compare_pages(const void *a, const void *b)
{
	return in_order(*(const u64 *)a, *(const u64 *)b);
}

/* Sorts, unless it is: a row of objects is listed in its order. */
static void put_in_order(void *list, size_t count, size_t size,
			 int (*compare)(const void *, const void *))
{
	size_t i;

	for (i = 1; i < count; i++)
		if (compare(list + (i - 1) * size, list + i * size) > 0) {
			sort(list, count, size, compare, NULL);
			return;
		}
}

/* Those pages behind `last` on which the bytes lie. Returns the last page. */
static unsigned long append_pages(struct lucos_lists *lists, unsigned long last,
				  unsigned long start, u32 size)
{
	unsigned long page = start & PAGE_MASK;

	for (; page < start + size; page += PAGE_SIZE)
		if (page > last)
			lists->pages[lists->page_count++] = last = page;
	return last;
}

/* Each page once, in ascending order. */
static void list_pages(struct lucos_lists *lists)
{
	const struct lucos_version *version = lists->version;
	unsigned long object = 0, twin = 0;
	unsigned int i, kept = 0;

	lists->page_count = 0;
	for (i = 0; i < lists->count; i++) {
		object = append_pages(lists, object, lists->by_object[i].object,
				      version->object_size);
		twin = append_pages(lists, twin, lists->by_twin[i].twin,
				    version->twin_size);
	}
	put_in_order(lists->pages, lists->page_count, sizeof(*lists->pages),
		     compare_pages);
	for (i = 0; i < lists->page_count; i++)
		if (!kept || lists->pages[i] != lists->pages[kept - 1])
			lists->pages[kept++] = lists->pages[i];
	lists->page_count = kept;
}

void lucos_lists_finish(struct lucos_lists *lists)
{
	size_t size = sizeof(*lists->by_object);

	put_in_order(lists->by_object, lists->count, size, compare_objects);
	memcpy(lists->by_twin, lists->by_object, lists->count * size);
	put_in_order(lists->by_twin, lists->count, size, compare_twins);
	list_pages(lists);
}
