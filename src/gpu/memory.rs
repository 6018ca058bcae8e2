//! Figures of an adapter's memory, for the error when it runs out.

use super::{AdapterClass, Gpu};
use crate::Error;

impl Gpu {
    /// Bytes that the device's allocations take, where its backend counts them (Vulkan and DX12).
    pub fn allocated(&self) -> Option<u64> {
        self.device().generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// Bytes that are free in the adapter's memory, where that can be read: what AMD's driver for Linux says of a card, and what
    /// Linux says of the memory that integrated GPUs and CPU drivers share.
    pub fn free_memory(&self) -> Option<u64> {
        match self.class() {
            AdapterClass::Discrete => {
                let number = |name: &str| {
                    let path = format!("/sys/bus/pci/devices/{}/mem_info_vram_{name}", self.info().device_pci_bus_id);
                    std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
                };
                number("total")?.checked_sub(number("used")?)
            }
            AdapterClass::Integrated | AdapterClass::Cpu => {
                let all = std::fs::read_to_string("/proc/meminfo").ok()?;
                let line = all.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
                line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
            }
        }
    }

    /// The error of a buffer or texture that the driver has no memory for.
    pub(super) fn out_of_memory(&self, label: &str, need: u64, error: &wgpu::Error) -> Error {
        Error::OutOfMemory {
            what: format!("`{label}`"),
            need,
            held: self.allocated(),
            free: self.free_memory(),
            message: error.to_string(),
        }
    }
}
