// SPDX-License-Identifier: GPL-2.0
/*
 * The fix of secretmem's accounting with its state beside the inode: inodes of
 * before the update, which stand on no list, get theirs when new code first
 * meets them, and what was accounted is given back after a rollback. (The file
 * has another name than the kernel's own: no module is called like one that is
 * built in.)
 */
#include <lucos/twin.h>

#include "secretmem.h"

static int make(struct state *state, struct inode *inode)
{
	/* Who created it. */
	state->user = alloc_uid(inode->i_uid);
	return state->user ? 0 : -ENOMEM;
}

static void drop(struct state *state)
{
	unaccount(state, atomic_long_read(&state->pages));
	free_uid(state->user);
}

LUCOS_TWIN(state_of, struct inode, struct state, .make = make, .drop = drop);

LUCOS_REPLACE(secretmem_fault, vm_fault_t, struct vm_fault *vmf)
{
	struct inode *inode = file_inode(vmf->vma->vm_file);
	struct state *state = state_of(inode, GFP_KERNEL);

	return state ? fault(state, vmf) : VM_FAULT_OOM;
}

LUCOS_REPLACE(secretmem_mmap, int, struct file *file, struct vm_area_struct *vma)
{
	return map(vma);
}

LUCOS_REPLACE(secretmem_release, int, struct inode *inode, struct file *file)
{
	atomic_dec(&secretmem_users);
	state_of_free(inode);
	return 0;
}

LUCOS_PATCH("secretmem", "mm/secretmem: properly account locked pages");
