/* SPDX-License-Identifier: GPL-2.0 */
#define __init __section(".init.text")
#define __exit __section(".exit.text")
