//! Devices, and tensors on them.

use std::ffi::c_char;

use softalign::{
    Error, GpuOptions, Result,
    gpu::{Dtype, Shape},
};

use crate::{
    pointers::{give, numbers, object, room, take, text},
    status::{Status, call, free},
};

/// An opened device.
pub struct Gpu(pub softalign::Gpu);

/// 32-bit floats on a device, or lengths.
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

/// Makes a tensor of so many lengths, all 0: of each row of a batch, how many of its steps, keys or columns are valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_lengths_new(gpu: *const Gpu, count: usize, tensor: *mut *mut Tensor) -> Status {
    call(|| unsafe {
        let Gpu(gpu) = object(gpu, "gpu")?;
        give(tensor, || Ok(Tensor { tensor: gpu.zeros("lengths", [count], Dtype::U32)?, gpu: gpu.clone() }))
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
        let Tensor { tensor, gpu } = floats(tensor)?;
        gpu.write(tensor, numbers(values, count, "values")?)
    })
}

/// Writes all lengths of a tensor that has them. One past the end of its row counts as that end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_write_lengths(tensor: *mut Tensor, values: *const u32, count: usize) -> Status {
    call(|| unsafe {
        let Tensor { tensor, gpu } = of_type(tensor, Dtype::U32, "lengths")?;
        gpu.write(tensor, numbers(values, count, "values")?)
    })
}

/// Reads all elements of a tensor, in row-major order, waiting for what was run before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_read(tensor: *const Tensor, values: *mut f32, count: usize) -> Status {
    call(|| unsafe {
        let Tensor { tensor, gpu } = floats(tensor)?;
        let found = gpu.read::<f32>(&tensor.reshape([count])?)?;
        room(values, count, "values")?.copy_from_slice(&found);
        Result::Ok(())
    })
}

unsafe fn floats<'a>(tensor: *const Tensor) -> Result<&'a Tensor> {
    unsafe { of_type(tensor, Dtype::F32, "floats") }
}

/// A tensor that has what a function reads or writes.
unsafe fn of_type<'a>(tensor: *const Tensor, dtype: Dtype, wanted: &str) -> Result<&'a Tensor> {
    let found = unsafe { object(tensor, "tensor") }?;
    match found.tensor.dtype() == dtype {
        true => Ok(found),
        false => {
            let (wanted, got) =
                (format!("one of {wanted}"), format!("{} {}", found.tensor.dtype(), found.tensor.shape()));
            Err(Error::Shape { operation: "softalign", argument: "tensor", wanted, got })
        }
    }
}
