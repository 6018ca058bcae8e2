//! Keeps Mesa from printing errors of its own on a machine without a screen.

use std::env::{set_var, var_os};

/// Switches off Mesa's device selection layer where there is no desktop for it to ask.
///
/// The layer orders Vulkan adapters by what the desktop uses (here they are ordered by class anyway). Without a desktop
/// session its Wayland library prints `error: XDG_RUNTIME_DIR is invalid or not set`, which reads like a failure of ours.
#[expect(unsafe_code, reason = "the environment is the only switch that the layer has")]
pub fn quieten_device_selection() {
    const LAYER_OFF: &str = "NODEVICE_SELECT";
    let unset = |variable| var_os(variable).is_none_or(|value| value.is_empty());
    if cfg!(target_os = "linux") && ["XDG_RUNTIME_DIR", "MESA_VK_DEVICE_SELECT", LAYER_OFF].into_iter().all(unset) {
        // SAFETY: called first thing in `main`, before any other thread exists that could read the environment.
        unsafe { set_var(LAYER_OFF, "1") }
    }
}
