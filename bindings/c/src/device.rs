//! Devices, and tensors on them.

use std::ffi::c_char;

use softalign::{
    GpuOptions, Result,
    gpu::{Dtype, Shape},
};

use crate::{
    pointers::{give, numbers, object, room, take, text},
    status::{Status, call, free},
};

/// An opened device.
pub struct Gpu(pub softalign::Gpu);

/// 32-bit floats on a device.
pub struct Tensor {
    pub tensor: softalign::Tensor,
    gpu: softalign::Gpu,
}

/// Opens the adapter of this index or with this in its name; the best one, or the one that the environment names, for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_open(adapter: *const c_char, gpu: *mut *mut Gpu) -> Status {
    call(|| unsafe {
        let mut options = GpuOptions::from_env();
        if !adapter.is_null() {
            options.adapter = Some(text(adapter, "adapter")?.to_owned());
        }
        give(gpu, || Ok(Gpu(softalign::Gpu::open(&options)?)))
    })
}

/// Frees a device. What was made on it goes on to work, and keeps it open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_close(gpu: *mut Gpu) {
    free(|| drop(unsafe { take(gpu) }));
}

/// Makes a tensor of zeros, with `rank` extents, the slowest first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_tensor_new(
    gpu: *const Gpu,
    extents: *const usize,
    rank: usize,
    tensor: *mut *mut Tensor,
) -> Status {
    call(|| unsafe {
        let Gpu(gpu) = object(gpu, "gpu")?;
        let shape = Shape::from(numbers(extents, rank, "extents")?);
        give(tensor, || Ok(Tensor { tensor: gpu.zeros("tensor", shape, Dtype::F32)?, gpu: gpu.clone() }))
    })
}

/// Frees a tensor. A recording that uses it goes on to work.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_tensor_free(tensor: *mut Tensor) {
    free(|| drop(unsafe { take(tensor) }));
}

/// Writes all elements of a tensor, in row-major order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_write(tensor: *mut Tensor, values: *const f32, count: usize) -> Status {
    call(|| unsafe {
        let Tensor { tensor, gpu } = object(tensor, "tensor")?;
        gpu.write(tensor, numbers(values, count, "values")?)
    })
}

/// Reads all elements of a tensor, in row-major order, waiting for what was run before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_read(tensor: *const Tensor, values: *mut f32, count: usize) -> Status {
    call(|| unsafe {
        let Tensor { tensor, gpu } = object(tensor, "tensor")?;
        let found = gpu.read::<f32>(&tensor.reshape([count])?)?;
        room(values, count, "values")?.copy_from_slice(&found);
        Result::Ok(())
    })
}
