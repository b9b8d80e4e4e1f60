//! Lines in the log of the DPDK program, under the type `pmd.net.eswitch`.

use std::ffi::{CString, c_char, c_int};
use std::fmt::Display;
use std::sync::OnceLock;

use dpdk_sys::{
    RTE_LOG_ERR, RTE_LOG_INFO, RTE_LOG_NOTICE, RTE_LOG_WARNING, rte_log,
    rte_log_register_type_and_pick_level,
};

/// The driver's log type; `--log-level=pmd.net.eswitch:debug` changes its level.
fn log_type() -> u32 {
    static TYPE: OnceLock<c_int> = OnceLock::new();
    let registered = *TYPE.get_or_init(|| {
        // SAFETY: the name is a C string that DPDK copies.
        unsafe { rte_log_register_type_and_pick_level(c"pmd.net.eswitch".as_ptr(), RTE_LOG_INFO) }
    });
    // 0 is EAL's own type: where a line goes when no type could be registered.
    u32::try_from(registered).unwrap_or(0)
}

/// Registers the log type before EAL reads `--log-level`.
pub fn register() {
    log_type();
}

fn write(level: u32, message: &impl Display) {
    let text = format!("net_eswitch: {message}").replace('\0', " ");
    let Ok(line) = CString::new(text) else { return };
    let format: *const c_char = c"%s\n".as_ptr();
    // SAFETY: the format takes exactly one C string, which lives over the call.
    unsafe { rte_log(level, log_type(), format, line.as_ptr()) };
}

/// What keeps the driver from doing what it was asked.
pub fn error(message: &impl Display) {
    write(RTE_LOG_ERR, message);
}

/// What the user should mend although work goes on.
pub fn warning(message: &impl Display) {
    write(RTE_LOG_WARNING, message);
}

/// What the user wants to know once.
pub fn notice(message: &impl Display) {
    write(RTE_LOG_NOTICE, message);
}
