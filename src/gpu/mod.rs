//! The device and everything made on it: adapters, pipelines, tensors, recorded dispatches, errors.

pub mod adapter;
mod binding;
mod cooperative;
mod cost;
mod counts;
mod description;
mod dispatch;
mod fault;
mod finite;
mod guard;
mod launch;
pub mod llvmpipe;
mod memory;
mod pipelines;
mod profile;
mod recorder;
mod ring;
pub mod shader;
mod signal;
mod stopwatch;
mod tensor;
mod texture;
pub mod tiles;
mod timer;
mod transfer;
#[cfg(feature = "translate")]
pub mod translate;
mod trusted;
pub mod tuner;
mod warm_up;

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

pub use adapter::AdapterClass;
pub use cooperative::Cooperative;
pub use cost::Cost;
pub use counts::Counts;
pub use description::Description;
pub use launch::{Launch, grid};
pub use pipelines::Pipeline;
pub use profile::{Apart, Profiled};
pub use recorder::{Recorder, Recording};
pub use ring::Ring;
pub use shader::{Shader, Shared, Specialisation};
pub(crate) use signal::Signal;
pub use tensor::{Dtype, ELEMENT, Shape, Tensor};
pub(crate) use tensor::{START, WIDEST, product};
pub use tiles::{LARGE_MEMORY, Offers, PORTABLE_MEMORY, Tiles, UNITS};
pub use timer::{Timed, Timer};
pub use tuner::TileTable;

use crate::{Error, Result};

/// Options for opening a [`Gpu`]. Fields will be added: end a literal with `..GpuOptions::default()`.
#[derive(Clone, Debug)]
pub struct GpuOptions {
    /// Index or part of the name of the adapter; else the best.
    pub adapter: Option<String>,
    /// Keep every bounds, loop and initialisation check of wgpu in the shaders.
    pub checked: bool,
    /// Use only what every adapter has: no subgroups, no f16.
    pub portable: bool,
    /// The kernels in the forms and tiles of another class of adapter: what a GPU runs can be checked and counted on a CPU driver.
    pub tiles: Option<AdapterClass>,
    /// One submit per dispatch, waited for, so that a fault names its kernel.
    pub trace: bool,
    /// Like `trace`; in addition the first infinite or NaN value that a kernel writes is an error.
    pub check_finite: bool,
    /// What wgpu calls experimental may be used, where the adapter has it: cooperative matrices, after a trial. On by default.
    pub experimental: bool,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            adapter: None,
            checked: false,
            portable: false,
            tiles: None,
            trace: false,
            check_finite: false,
            experimental: true,
        }
    }
}

impl GpuOptions {
    /// Options from the environment: the adapter from `SOFTALIGN_ADAPTER`; `checked` and `portable` where `SOFTALIGN_CHECKED`
    /// and `SOFTALIGN_PORTABLE` are set and not `0`. Nothing else of this crate reads them.
    pub fn from_env() -> Self {
        let switched_on = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty() && value != "0");
        Self {
            adapter: std::env::var(adapter::ADAPTER_VARIABLE).ok().filter(|name| !name.is_empty()),
            checked: switched_on("SOFTALIGN_CHECKED"),
            portable: switched_on("SOFTALIGN_PORTABLE"),
            ..Self::default()
        }
    }
}

/// Counts of the objects made and the submits. Replaying a Program makes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers made.
    pub buffers: u64,
    /// Bytes of the buffers made.
    pub bytes: u64,
    /// Bind groups made.
    pub bind_groups: u64,
    /// Pipelines made.
    pub pipelines: u64,
    /// Dispatches encoded.
    pub dispatches: u64,
    /// Command buffers submitted.
    pub submits: u64,
    /// Buffers copied back for the host to read.
    pub readbacks: u64,
    /// Times that the host waited for the device.
    pub waits: u64,
}

/// An opened adapter. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Gpu {
    inner: Arc<Inner>,
    tile_table: Arc<TileTable>,
}

#[derive(Debug)]
struct Inner {
    id: u64,
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    limits: wgpu::Limits,
    class: AdapterClass,
    tiles: Tiles,
    cooperative_trials: [OnceLock<std::result::Result<u32, String>>; 2],
    checked: bool,
    trace: bool,
    check_finite: bool,
    pipelines: pipelines::Pipelines,
    textures: texture::Textures,
    faults: Arc<fault::Faults>,
    probe: Option<fault::Probe>,
    counters: Mutex<Counters>,
}

impl Gpu {
    /// Opens an adapter with its real limits, and with f16, 64-bit integers, subgroups, timestamps and, on GPUs, cooperative matrices
    /// where present. A browser has [`Gpu::open_async`] alone.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if none matches, [`Error::Gpu`] if the driver refuses a device.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(options: &GpuOptions) -> Result<Self> {
        pollster::block_on(Self::open_async(options))
    }

    /// Opens an adapter with the features of [`Gpu::open`]; works in a browser too.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if none matches, [`Error::Gpu`] if the driver refuses a device.
    pub async fn open_async(options: &GpuOptions) -> Result<Self> {
        let adapter = adapter::choose_async(options.adapter.as_deref()).await?;
        let wanted = wgpu::Features::SHADER_F16
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::SUBGROUP
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
            | wgpu::Features::IMMEDIATES;
        let info = adapter.get_info();
        let cooperative = Self::cooperative(&adapter, options);
        let mut features = adapter.features() & wanted;
        features.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, cooperative.is_some());
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("softalign"),
            required_features: features,
            required_limits: adapter.limits(),
            experimental_features: trusted::experimental(features),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) =
            opened.map_err(|error| Error::Gpu { kernel: adapter::describe(&info), message: error.to_string() })?;
        let faults = fault::Faults::watch(&device);
        Ok(Self::assemble((device, queue), faults, None, options, cooperative))
    }

    /// The cooperative matrices that a device is opened with: no class of adapter is asked for any that its kernels do not use.
    fn cooperative(adapter: &wgpu::Adapter, options: &GpuOptions) -> Option<Cooperative> {
        let class = options.tiles.unwrap_or_else(|| AdapterClass::of(&adapter.get_info()));
        let wanted = options.experimental && !options.portable && class != AdapterClass::Cpu;
        if wanted { Cooperative::of(adapter) } else { None }
    }

    /// Uses the caller's own device and queue; of the options, `adapter` and `experimental` have no effect. The device's callbacks stay the
    /// caller's: uncaptured errors are reported there alone, and a lost device there and as [`Error::DeviceLost`] here.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue, options: &GpuOptions) -> Self {
        let faults = Arc::<fault::Faults>::default();
        if cfg!(target_family = "wasm") {
            faults.watch_loss(&device);
            return Self::assemble((device, queue), faults, None, options, None);
        }
        let probe = fault::Probe::new(&device);
        Self::assemble((device, queue), faults, Some(probe), options, None)
    }

    fn assemble(
        (device, queue): (wgpu::Device, wgpu::Queue),
        faults: Arc<fault::Faults>,
        probe: Option<fault::Probe>,
        options: &GpuOptions,
        cooperative: Option<Cooperative>,
    ) -> Self {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let info = device.adapter_info();
        let class = AdapterClass::of(&info);
        let has = |feature| device.features().contains(feature);
        let fixed_subgroups = has(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size;
        let subgroup = (fixed_subgroups && !options.portable).then_some(info.subgroup_min_size);
        let offers = Offers {
            subgroup,
            words64: has(wgpu::Features::SHADER_INT64),
            f16: has(wgpu::Features::SHADER_F16) && !options.portable,
            memory: if options.portable { PORTABLE_MEMORY } else { device.limits().max_compute_workgroup_storage_size },
            cooperative,
            few_registers: llvmpipe::few_registers(&info),
            textures: llvmpipe::loads_from_textures(&info),
        };
        Self {
            inner: Arc::new(Inner {
                id: OPENED.fetch_add(1, Ordering::Relaxed),
                limits: device.limits(),
                class,
                tiles: Tiles::for_adapter(options.tiles.unwrap_or(class), offers),
                cooperative_trials: Default::default(),
                checked: options.checked,
                trace: options.trace,
                check_finite: options.check_finite,
                pipelines: pipelines::Pipelines::default(),
                textures: texture::Textures::default(),
                faults,
                probe,
                counters: Mutex::default(),
                device,
                queue,
                info,
            }),
            tile_table: Arc::default(),
        }
    }

    /// A number that tells this device's tensors from others': two wgpu instances may number their handles alike.
    fn id(&self) -> u64 {
        self.inner.id
    }

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// The adapter's name, driver and backend.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// The device's limits.
    pub fn limits(&self) -> &wgpu::Limits {
        &self.inner.limits
    }

    /// Discrete, integrated or CPU.
    pub fn class(&self) -> AdapterClass {
        self.inner.class
    }

    /// A device just opened, as it would be if its driver loaded faster from textures, or from buffers.
    #[cfg(test)]
    pub(crate) fn reading_textures(mut self, textures: bool) -> Self {
        Arc::get_mut(&mut self.inner).expect("nobody else has it yet").tiles.textures = textures;
        self
    }

    /// The tile configurations in use.
    pub fn tiles(&self) -> &Tiles {
        &self.inner.tiles
    }

    /// What a trial has said of products by cooperative matrices with factors of f16, and of f32: how many lanes multiply one, or what
    /// is wrong; nothing before it was made.
    pub(crate) fn cooperative_trials(&self) -> &[OnceLock<std::result::Result<u32, String>>; 2] {
        &self.inner.cooperative_trials
    }

    /// The same device with other tiles than the defaults, for whatever is recorded with the returned handle.
    pub fn with_tile_table(&self, table: TileTable) -> Self {
        Self { inner: self.inner.clone(), tile_table: Arc::new(table) }
    }

    /// The tiles that replace defaults; none in a [`Gpu`] just opened.
    pub fn tile_table(&self) -> &TileTable {
        &self.tile_table
    }

    /// Whether shaders keep every check.
    pub fn checked(&self) -> bool {
        self.inner.checked
    }

    /// The counts of objects made and submits so far.
    pub fn counters(&self) -> Counters {
        *self.inner.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.inner.counters.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
