/* SPDX-License-Identifier: GPL-2.0 */
/* What lucos/patch.h needs of the kernel's headers, so that it compiles here. */
#define __maybe_unused __attribute__((unused))
#define __used __attribute__((used))
#define __section(name) __attribute__((section(name)))
#define noinline __attribute__((noinline))
#define noinstr noinline __section(".noinstr.text")
