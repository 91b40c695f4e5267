// SPDX-License-Identifier: GPL-2.0
/*
 * The same fix as it stands in the kernel's sources: its state is where the
 * inode's constructor has put it. Inodes of before the update have none.
 */
#include <lucos/patch.h>

#include "secretmem.h"

LUCOS_REPLACE(secretmem_fault, vm_fault_t, struct vm_fault *vmf)
{
	return fault(file_inode(vmf->vma->vm_file)->i_private, vmf);
}

LUCOS_REPLACE(secretmem_mmap, int, struct file *file, struct vm_area_struct *vma)
{
	return map(vma);
}

LUCOS_REPLACE(secretmem_release, int, struct inode *inode, struct file *file)
{
	struct state *state = inode->i_private;

	atomic_dec(&secretmem_users);
	unaccount(state, atomic_long_read(&state->pages));
	free_uid(state->user);
	kfree(state);
	inode->i_private = NULL;
	return 0;
}

LUCOS_PATCH("secretmem_field", "mm/secretmem: properly account locked pages");
