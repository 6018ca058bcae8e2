//! The devices that tests share. A device runs, and a CPU driver compiles, one submission after the other: tests that run at the
//! same time have devices of their own, and later tests find the kernels compiled that earlier ones left there.

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    thread_local,
};

use softalign::{
    Gpu, GpuOptions,
    gpu::{AdapterClass, adapter},
    wgpu,
};

/// One adapter in the forms that tests ask for, each opened on first use.
pub struct Devices {
    pub own: LazyLock<Gpu>,
    pub portable: LazyLock<Gpu>,
    pub without_subgroups: LazyLock<Gpu>,
}

/// Devices that no test has at the moment.
static FREE: Mutex<Vec<&'static Devices>> = Mutex::new(Vec::new());

/// What a test's thread holds until it ends.
struct Lease(&'static Devices);

impl Drop for Lease {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

/// The devices of this thread, for as long as it lasts.
pub fn device() -> &'static Devices {
    thread_local! {
        static LEASE: Lease = Lease(FREE.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(devices));
    }
    LEASE.with(|lease| lease.0)
}

fn devices() -> &'static Devices {
    Box::leak(Box::default())
}

impl Default for Devices {
    /// For a caller alone. Their kernels go with them: a CPU driver keeps megabytes of code for each.
    fn default() -> Self {
        Self {
            own: LazyLock::new(|| open(&GpuOptions::from_env())),
            portable: LazyLock::new(|| open(&GpuOptions { portable: true, checked: true, ..GpuOptions::from_env() })),
            without_subgroups: LazyLock::new(without_subgroups),
        }
    }
}

fn open(options: &GpuOptions) -> Gpu {
    Gpu::open(options).unwrap_or_else(|error| panic!("{error}"))
}

fn without_subgroups() -> Gpu {
    let adapter = adapter::choose(GpuOptions::from_env().adapter.as_deref()).unwrap_or_else(|error| panic!("{error}"));
    let descriptor = wgpu::DeviceDescriptor {
        required_features: adapter.features() & wgpu::Features::SHADER_F16,
        required_limits: adapter.limits(),
        ..wgpu::DeviceDescriptor::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    let options = GpuOptions { checked: true, tiles: Some(AdapterClass::Discrete), ..GpuOptions::default() };
    Gpu::from_wgpu(device, queue, &options)
}
