/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Data of the kernel that a patch has in another form. Each object of the kernel
 * has a twin, which is the same state in the new form; two functions make one
 * side of the other.
 *
 *	static struct total { u64 packets; } total_twin LUCOS_TWIN_VARIABLE;
 *
 *	LUCOS_DATA(total, packet_total, total_twin);
 *	LUCOS_TO_NEW(total) { new->packets = *old; }
 *	LUCOS_TO_OLD(total) { *old = new->packets; }
 *
 * See docs/patch-authors-guide.md, "Data in another form".
 */
#ifndef LUCOS_VERSION_H
#define LUCOS_VERSION_H

#include <linux/build_bug.h>
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/percpu.h>
#include <linux/stddef.h>

#include <lucos/patch.h>

struct lucos_carried;
struct lucos_walk;

/* The data version of a patch, as the patch module says. */
struct lucos_version {
	const char *name;
	u32 object_size;
	u32 twin_size;
	u32 twin_alignment;
	/* 0, or an errno: the object cannot be made of what the other side is. */
	int (*to_new)(void *twin, const void *object);
	int (*to_old)(void *object, const void *twin);
	const bool *lossy;
	const bool *clear_only;
	bool per_cpu;
	/* Variables: */
	void *object;
	void *twin;
	unsigned int count;		/* entries of an array; 0: no variable */
	/* Instances that the kernel makes and frees: */
	void (*lock)(void);
	void (*walk)(struct lucos_walk *walk);
	void (*unlock)(void);
	struct lucos_carried *carried;	/* the update manager's */
};

/* A field that both sides have at home in the object. */
struct lucos_version_shared {
	const struct lucos_version *version;
	struct lucos_shared_field field;
};

/*
 * Behind the name of a variable that is a twin: no other variable lies on its
 * pages, so what is written beside it is not looked at.
 */
#define LUCOS_TWIN_VARIABLE	__section(".data..lucos_twins") __aligned(PAGE_SIZE)

/* What all kinds have in common: the types, and what follows in any order. */
#define LUCOS_VERSION_DECLARE(tag, old_type, new_type)			\
	typedef old_type lucos_old_type_##tag;				\
	typedef new_type lucos_new_type_##tag;				\
	static const bool lucos_lossy_##tag;				\
	static const bool lucos_clear_only_##tag;			\
	static int lucos_to_new_##tag(void *twin, const void *object);	\
	static int lucos_to_old_##tag(void *object, const void *twin)

#define LUCOS_VERSION_DEFINE(tag, ...)					\
	static struct lucos_version __used lucos_version_##tag = {	\
		.name = #tag,						\
		.object_size = sizeof(lucos_old_type_##tag),			\
		.twin_size = sizeof(lucos_new_type_##tag),		\
		.twin_alignment = __alignof__(lucos_new_type_##tag),	\
		.to_new = lucos_to_new_##tag,				\
		.to_old = lucos_to_old_##tag,				\
		.lossy = &lucos_lossy_##tag,				\
		.clear_only = &lucos_clear_only_##tag,			\
		__VA_ARGS__						\
	};								\
	asm(".pushsection .lucos.versions, \"aw\", @progbits\n"		\
	    ".quad lucos_version_" #tag "\n"				\
	    ".popsection\n")

/*
 * A variable in another form: `old` is the kernel's, `twin` the patch's, whose
 * initial value is what only new code knows.
 */
#define LUCOS_DATA(tag, old, new)					\
	LUCOS_VERSION_DECLARE(tag, typeof(old), typeof(new));		\
	LUCOS_VERSION_DEFINE(tag, .object = (void *)&(old),		\
			     .twin = &(new), .count = 1)

/* The same for two arrays of the same length; each entry is carried by itself. */
#define LUCOS_DATA_ARRAY(tag, old, new)					\
	LUCOS_VERSION_DECLARE(tag, typeof((old)[0]), typeof((new)[0])); \
	static_assert(ARRAY_SIZE(old) == ARRAY_SIZE(new));		\
	LUCOS_VERSION_DEFINE(tag, .object = (void *)(old),		\
			     .twin = (new), .count = ARRAY_SIZE(new))

/* The same for two per-CPU variables. */
#define LUCOS_DATA_PER_CPU(tag, old, new)				\
	LUCOS_VERSION_DECLARE(tag, typeof(old), typeof(new));		\
	LUCOS_VERSION_DEFINE(tag, .object = (void __force *)&(old),	\
			     .twin = (void __force *)&(new), .count = 1, \
			     .per_cpu = true)

/* The update manager's part; what they promise stands at LUCOS_CARRIED. */
void lucos_found(struct lucos_walk *walk, void *object);
void *lucos_carried_get(struct lucos_version *version, void *object, gfp_t gfp);
void *lucos_carried_find(const struct lucos_version *version,
			 const void *object);
void lucos_carried_free(struct lucos_version *version, const void *object);

/*
 * Objects that the kernel makes and frees, of a type that has another form:
 *
 *	LUCOS_CARRIED(tag, old_type, new_type, .lock = function,
 *		      .walk = function, .unlock = function [, .per_cpu = true]);
 *
 * lock()	from here on no such object is put where walk() finds it, and none
 *		that it finds is freed,
 * unlock()	until here;
 * walk(walk)	calls lucos_found(walk, object) for each, between the two.
 *
 * The update manager calls them in process context; they may sleep. It defines
 *
 *	new_type *tag(old_type *object, gfp_t gfp)
 *		The object's twin. One that the walk did not find gets it here:
 *		memory that is allocated with `gfp`, and what LUCOS_TO_NEW makes
 *		of the object. NULL without memory, or while a rollback is under
 *		way: then the object alone is up to date. In any context but an
 *		NMI.
 *	new_type *tag_find(const old_type *object)
 *		The same, or NULL when there is none. In any context.
 *	void tag_free(const old_type *object)
 *		The object goes. To be called by every function that frees such
 *		an object, before that. In any context but an NMI.
 *
 * With `.per_cpu` objects and twins are per-CPU memory.
 */
#define LUCOS_CARRIED(tag, old_type, new_type, ...)			\
	LUCOS_VERSION_DECLARE(tag, old_type, new_type);			\
	LUCOS_VERSION_DEFINE(tag, __VA_ARGS__);				\
	static inline lucos_new_type_##tag *				\
	tag(lucos_old_type_##tag *object, gfp_t gfp)			\
	{								\
		return lucos_carried_get(&lucos_version_##tag, object, gfp); \
	}								\
	static inline lucos_new_type_##tag *				\
	tag##_find(const lucos_old_type_##tag *object)			\
	{								\
		return lucos_carried_find(&lucos_version_##tag, object); \
	}								\
	static inline void tag##_free(const lucos_old_type_##tag *object) \
	{								\
		lucos_carried_free(&lucos_version_##tag, object);	\
	}

/*
 * Makes the new side of the old one, or the reverse. The body follows, with
 * `new` and `old` as pointers; it is a function without a result:
 *
 *	LUCOS_TO_NEW(tag) { new->packets = *old; }
 *	LUCOS_TO_OLD(tag) { *old = new->packets; }
 *
 * It reads both and writes its target only: fields that the target has alone stay
 * as they are. It runs confined, while the machine stands still or in the middle
 * of a write: it calls nothing but memcpy, memset and inline functions.
 */
#define LUCOS_TO_NEW(tag)						\
	static __always_inline void lucos_make_new_##tag(		\
		lucos_new_type_##tag *new, const lucos_old_type_##tag *old);	\
	static LUCOS_NOINSTR int lucos_to_new_##tag(void *twin,		\
						    const void *object)	\
	{								\
		lucos_make_new_##tag(twin, object);			\
		return 0;						\
	}								\
	static __always_inline void lucos_make_new_##tag(		\
		lucos_new_type_##tag *new, const lucos_old_type_##tag *old)

#define LUCOS_TO_OLD(tag)						\
	static __always_inline void lucos_make_old_##tag(		\
		lucos_old_type_##tag *old, const lucos_new_type_##tag *new);	\
	static LUCOS_NOINSTR int lucos_to_old_##tag(void *object,	\
						    const void *twin)	\
	{								\
		lucos_make_old_##tag(object, twin);			\
		return 0;						\
	}								\
	static __always_inline void lucos_make_old_##tag(		\
		lucos_old_type_##tag *old, const lucos_new_type_##tag *new)

/*
 * The same for a function that can refuse: it returns 0, or an errno when the
 * target cannot be what its source is. An update or rollback then changes
 * nothing; at a write while old and new code run, the patch is withdrawn.
 */
#define LUCOS_TRY_TO_NEW(tag)						\
	static __always_inline int lucos_make_new_##tag(		\
		lucos_new_type_##tag *new, const lucos_old_type_##tag *old);	\
	static LUCOS_NOINSTR int lucos_to_new_##tag(void *twin,		\
						    const void *object)	\
	{								\
		return lucos_make_new_##tag(twin, object);		\
	}								\
	static __always_inline int lucos_make_new_##tag(		\
		lucos_new_type_##tag *new, const lucos_old_type_##tag *old)

#define LUCOS_TRY_TO_OLD(tag)						\
	static __always_inline int lucos_make_old_##tag(		\
		lucos_old_type_##tag *old, const lucos_new_type_##tag *new);	\
	static LUCOS_NOINSTR int lucos_to_old_##tag(void *object,	\
						    const void *twin)	\
	{								\
		return lucos_make_old_##tag(object, twin);		\
	}								\
	static __always_inline int lucos_make_old_##tag(		\
		lucos_old_type_##tag *old, const lucos_new_type_##tag *new)

/*
 * Says that a field of both types is at home in the object for old and new code,
 * such as a lock: what is written there is not carried.
 */
#define LUCOS_SHARED(tag, member)					\
	LUCOS_SHARED_ENTRY(__COUNTER__, tag, member)

#define LUCOS_SHARED_ENTRY(number, tag, member)				\
	static_assert(sizeof_field(lucos_old_type_##tag, member) ==		\
		      sizeof_field(lucos_new_type_##tag, member));	\
	static const struct lucos_version_shared			\
	LUCOS_PASTE(lucos_shared_, number) __used = {			\
		.version = &lucos_version_##tag,			\
		.field = {						\
			.old_offset = offsetof(lucos_old_type_##tag, member), \
			.new_offset = offsetof(lucos_new_type_##tag, member), \
			.size = sizeof_field(lucos_old_type_##tag, member),	\
		},							\
	};								\
	asm(".pushsection .lucos.shared, \"aw\", @progbits\n"		\
	    ".quad lucos_shared_" LUCOS_STRING(number) "\n"		\
	    ".popsection\n")

/*
 * Says that not all of one side can be made of the other and back. Such data is
 * moved only while nobody is inside the code that is left, and the functions
 * are not checked against each other.
 */
#define LUCOS_LOSSY(tag)	static const bool lucos_lossy_##tag = true

/*
 * Says that the data must never be in both forms at once, for readers without a
 * lock: it is moved only while nobody is inside the code that is left.
 */
#define LUCOS_CLEAR_ONLY(tag)	static const bool lucos_clear_only_##tag = true

#endif
