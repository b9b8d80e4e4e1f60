//! DPDK's environment abstraction layer: one for each process.

use std::ffi::{CString, NulError};
use std::marker::PhantomData;
use std::os::raw::c_int;

use super::DpdkError;

/// The initialised environment. It stays on the thread that initialised it, DPDK's main lcore.
pub struct Eal {
    not_send: PhantomData<*const ()>,
}

impl Eal {
    /// Initialises the environment and probes the devices that `arguments` name; `arguments` are those after the
    /// program's name.
    ///
    /// # Errors
    /// When DPDK refuses; it has said more about it on standard error.
    pub fn init(arguments: &[String]) -> Result<Self, DpdkError> {
        const EINVAL: i32 = 22;
        let all = std::iter::once("penstock-dpud").chain(arguments.iter().map(String::as_str));
        let owned: Vec<CString> =
            all.map(CString::new).collect::<Result<_, NulError>>().map_err(|_| DpdkError {
                action: "start DPDK with a zero byte in its arguments".into(),
                errno: EINVAL,
            })?;
        // DPDK keeps pointers to its arguments for as long as the process lives, and reorders the list.
        let pointers: Vec<_> = owned.into_iter().map(CString::into_raw).collect();
        let count = c_int::try_from(pointers.len()).unwrap_or(c_int::MAX);
        let list = pointers.leak();
        // SAFETY: `list` has `count` terminated texts, and neither is ever freed.
        let result = unsafe { dpdk_sys::rte_eal_init(count, list.as_mut_ptr()) };
        if result < 0 {
            let command = format!(
                "start DPDK (its own messages are above; arguments: {})",
                arguments.join(" ")
            );
            return Err(DpdkError::last(command));
        }
        Ok(Self { not_send: PhantomData })
    }
}

impl Drop for Eal {
    fn drop(&mut self) {
        // SAFETY: initialised once, on this thread; all that borrowed from it is gone.
        unsafe { dpdk_sys::rte_eal_cleanup() };
    }
}
