//! The instruction that enters the kernel.

/// What came back from the kernel.
pub(crate) struct Returned {
    /// RAX
    pub rax: u64,
    /// RDX
    pub rdx: u64,
}

/// Enters the kernel with these values in RAX, RDI and RSI. See [`lucos_abi::call`].
#[cfg(target_os = "none")]
pub(crate) fn system_call(number: u64, first: u64, second: u64) -> Returned {
    let rax;
    let rdx;
    // SAFETY: the kernel reads and writes only this thread's message page, which nobody holds a
    // reference to while the call runs (`Thread::page` borrows the thread), and the registers that
    // are named here. `clobber_abi` covers what it may leave behind in scratch registers.
    unsafe {
        core::arch::asm!(
            "int 0x80",
            inlateout("rax") number => rax,
            inlateout("rdi") first => _,
            inlateout("rsi") second => _,
            lateout("rdx") rdx,
            clobber_abi("sysv64"),
        );
    }
    Returned { rax, rdx }
}

#[cfg(target_os = "none")]
const _: () = assert!(lucos_abi::call::VECTOR == 0x80);

/// There is no kernel below a program of the host.
#[cfg(not(target_os = "none"))]
pub(crate) fn system_call(_number: u64, _first: u64, _second: u64) -> Returned {
    Returned { rax: lucos_abi::call::CallStatus::NoSuchCall as u64, rdx: 0 }
}
