/* SPDX-License-Identifier: GPL-2.0 */
/* What the fix of secretmem's accounting (CVE-2026-93243) does with a state, wherever that is. */
#ifndef LUCOS_TEST_SECRETMEM_H
#define LUCOS_TEST_SECRETMEM_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/set_memory.h>
#include <linux/version.h>

/* For whom pages are accounted, and how many are. */
struct state {
	struct user_struct *user;
	atomic_long_t pages;
};

/* Not declared for modules. */
void flush_tlb_kernel_range(unsigned long start, unsigned long end);

extern atomic_t secretmem_users;
extern const struct vm_operations_struct secretmem_vm_ops;

/* Adds a page to those that the user has locked; false when that is too much. */
static bool account(struct state *state)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	unsigned long locked = atomic_long_read(&state->user->locked_vm);

	do {
		if (locked >= limit)
			return false;
	} while (!atomic_long_try_cmpxchg(&state->user->locked_vm,
					  (long *)&locked, locked + 1));
	atomic_long_inc(&state->pages);
	return true;
}

static void unaccount(struct state *state, long pages)
{
	atomic_long_sub(pages, &state->user->locked_vm);
	atomic_long_sub(pages, &state->pages);
}

/* Makes the page at an offset, accounted for. Gives 0 or an errno. */
static int make_page(struct state *state, struct address_space *mapping,
		     struct vm_fault *vmf)
{
	struct folio *folio = folio_alloc(vmf->gfp_mask | __GFP_ZERO, 0);
	unsigned long address;
	int error = -EDQUOT;

	if (!folio)
		return -ENOMEM;
	if (!account(state))
		goto free;
	error = set_direct_map_invalid_noflush(&folio->page);
	if (error)
		goto give_back;
	__folio_mark_uptodate(folio);
	error = filemap_add_folio(mapping, folio, vmf->pgoff, vmf->gfp_mask);
	if (error) {
		set_direct_map_default_noflush(&folio->page);
		goto give_back;
	}
	address = (unsigned long)folio_address(folio);
	flush_tlb_kernel_range(address, address + PAGE_SIZE);
	/* The page cache has it, locked. */
	vmf->page = &folio->page;
	return 0;

give_back:
	unaccount(state, 1);
free:
	folio_put(folio);
	return error;
}

/* secretmem_fault, with the state of its inode. */
static vm_fault_t fault(struct state *state, struct vm_fault *vmf)
{
	struct address_space *mapping = vmf->vma->vm_file->f_mapping;
	int error;

	if (((loff_t)vmf->pgoff << PAGE_SHIFT) >=
	    i_size_read(file_inode(vmf->vma->vm_file)))
		return vmf_error(-EINVAL);
	filemap_invalidate_lock_shared(mapping);
	do {
		vmf->page = find_lock_page(mapping, vmf->pgoff);
		error = vmf->page ? 0 : make_page(state, mapping, vmf);
	} while (error == -EEXIST);
	filemap_invalidate_unlock_shared(mapping);
	return error ? vmf_error(error) : VM_FAULT_LOCKED;
}

/* secretmem_mmap: what is mapped is accounted when it is touched. */
static int map(struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & (VM_SHARED | VM_MAYSHARE)))
		return -EINVAL;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, VM_DONTDUMP);
#else
	vma->vm_flags |= VM_DONTDUMP;
#endif
	vma->vm_ops = &secretmem_vm_ops;
	return 0;
}

#endif
