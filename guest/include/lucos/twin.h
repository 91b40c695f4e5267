/* SPDX-License-Identifier: GPL-2.0 */
/*
 * State that new code keeps beside objects of the kernel: each object has a
 * twin, found by the object's address, from when new code first asks for it
 * until new code says that the object goes, or the patch is taken back.
 *
 *	struct state { struct user_struct *user; };
 *
 *	static int make(struct state *twin, struct inode *object) { ... }
 *	static void drop(struct state *twin) { ... }
 *
 *	LUCOS_TWIN(state_of, struct inode, struct state,
 *		   .make = make, .drop = drop);
 *
 * See docs/patch-authors-guide.md, "State beside an object".
 */
#ifndef LUCOS_TWIN_H
#define LUCOS_TWIN_H

#include <linux/build_bug.h>
#include <linux/gfp.h>

#include <lucos/patch.h>

struct lucos_twin_table;

/* A kind of twin. The patch module says what it is. */
struct lucos_twins {
	const char *name;
	size_t size;
	int (*make)(void *twin, void *object);
	void (*drop)(void *twin);
	struct lucos_twin_table *table;		/* the update manager's */
};

/* The update manager's part; what they promise stands at LUCOS_TWIN. */
void *lucos_twin_get(struct lucos_twins *twins, void *object, gfp_t gfp);
void *lucos_twin_find(const struct lucos_twins *twins, const void *object);
void lucos_twin_free(struct lucos_twins *twins, const void *object);

/* Most bytes of a twin. */
#define LUCOS_TWIN_SIZE_MAX	4096

/*
 * Defines a kind of twin, and three functions:
 *
 *	twin_type *tag(object_type *object, gfp_t gfp)
 *		The object's twin. Made when there is none: zeroed memory that
 *		is allocated with `gfp`, then `make(twin, object)`. Of two
 *		makers the first wins, and the twin of the other is dropped.
 *		NULL without memory, or when `make` gives an error. In any
 *		context but an NMI.
 *	twin_type *tag_find(const object_type *object)
 *		The same, or NULL when there is none. In any context.
 *	void tag_free(const object_type *object)
 *		The object goes: its twin, if there is one, is dropped. To be
 *		called by every function that frees such an object. In any
 *		context but an NMI.
 *
 * `drop(twin)` gives back what the twin holds. It is called where tag_free was;
 * for the twins that are left, in process context after a rollback, when
 * nobody is in new code any more. The object may be gone then.
 *
 * Both may be left out.
 */
#define LUCOS_TWIN(tag, object_type, twin_type, ...)			\
	static const struct {						\
		int (*make)(twin_type *twin, object_type *object);	\
		void (*drop)(twin_type *twin);				\
	} tag##_functions = { __VA_ARGS__ };				\
									\
	static int tag##_make(void *twin, void *object)			\
	{								\
		if (!tag##_functions.make)				\
			return 0;					\
		return tag##_functions.make(twin, object);		\
	}								\
									\
	static void tag##_drop(void *twin)				\
	{								\
		if (tag##_functions.drop)				\
			tag##_functions.drop(twin);			\
	}								\
									\
	static struct lucos_twins __used lucos_twins_##tag = {		\
		.name = #tag,						\
		.size = sizeof(twin_type),				\
		.make = tag##_make,					\
		.drop = tag##_drop,					\
	};								\
	asm(".pushsection .lucos.twins, \"aw\", @progbits\n"		\
	    ".quad lucos_twins_" #tag "\n"				\
	    ".popsection\n");						\
	static inline twin_type *tag(object_type *object, gfp_t gfp)	\
	{								\
		BUILD_BUG_ON(sizeof(twin_type) > LUCOS_TWIN_SIZE_MAX);	\
		return lucos_twin_get(&lucos_twins_##tag, object, gfp);	\
	}								\
	static inline twin_type *tag##_find(const object_type *object)	\
	{								\
		return lucos_twin_find(&lucos_twins_##tag, object);	\
	}								\
	static inline void tag##_free(const object_type *object)	\
	{								\
		lucos_twin_free(&lucos_twins_##tag, object);		\
	}

#endif
