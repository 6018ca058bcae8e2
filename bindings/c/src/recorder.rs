//! Kernels recorded on tensors, to be run as often as is wanted.

use std::ffi::c_char;

use softalign::{
    Error, Result, gpu,
    kernels::{
        matmul::{Activation, Matmul, Matrix, Operands, Tile},
        softmax::Softmax,
    },
};

use crate::{
    device::{Gpu, Tensor},
    pointers::{give, object, object_mut, take, text},
    status::{Status, call, free},
};

/// Kernels that are being recorded.
pub struct Recorder(gpu::Recorder);

/// Recorded kernels, whose order of running is that of recording.
pub struct Recording {
    recording: gpu::Recording,
    gpu: softalign::Gpu,
}

/// Begins to record kernels under a name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_record(
    gpu: *const Gpu,
    name: *const c_char,
    recorder: *mut *mut Recorder,
) -> Status {
    call(|| unsafe {
        let (Gpu(gpu), name) = (object(gpu, "gpu")?, text(name, "name")?);
        give(recorder, || Ok(Recorder(gpu::Recorder::new(gpu, name))))
    })
}

/// Records `c = a·b`, of `a` [M, K] and `b` [K, N], or [N, K] where `transpose_b`: [M, N].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_record_matmul(
    recorder: *mut Recorder,
    a: *const Tensor,
    b: *const Tensor,
    transpose_b: bool,
    c: *mut Tensor,
) -> Status {
    call(|| unsafe {
        let Recorder(recorder) = object_mut(recorder, "recorder")?;
        let (a, b, c) = (&object(a, "a")?.tensor, &object(b, "b")?.tensor, &object(c, "c")?.tensor);
        let ([m, k], [_, n]) = (extents(a, "a")?, extents(c, "c")?);
        expect("matmul", "b", b, if transpose_b { [n, k] } else { [k, n] })?;
        expect("matmul", "c", c, [m, n])?;
        let matmul = Matmul { m, n, k, batch: 1, transpose_b, activation: Activation::None, ..Matmul::default() };
        let tile = Tile::choose(recorder.gpu(), m);
        matmul.record(
            recorder,
            tile,
            &Operands { a: Matrix::rows(a), b: Matrix::rows(b), bias: None, c: Matrix::rows(c) },
        )
    })
}

/// Records the softmax `y` of each row of `x`, both [R, C].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_record_softmax(recorder: *mut Recorder, x: *const Tensor, y: *mut Tensor) -> Status {
    call(|| unsafe {
        let Recorder(recorder) = object_mut(recorder, "recorder")?;
        let (x, y) = (&object(x, "x")?.tensor, &object(y, "y")?.tensor);
        let [rows, columns] = extents(x, "x")?;
        expect("softmax", "y", y, [rows, columns])?;
        Softmax { rows, columns }.record(recorder, x, None, y)
    })
}

/// Ends a recording, and compiles what the device has not compiled yet. The recorder is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_finish(recorder: *mut Recorder, recording: *mut *mut Recording) -> Status {
    let recorder = unsafe { take(recorder) };
    call(|| {
        let none = || Error::data("recorder", "is NULL; softalign_record makes one");
        let Recorder(recorder) = *recorder.ok_or_else(none)?;
        let gpu = recorder.gpu().clone();
        unsafe { give(recording, || Ok(Recording { recording: recorder.finish()?, gpu })) }
    })
}

/// Frees a recorder whose kernels are not wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_recorder_free(recorder: *mut Recorder) {
    free(|| drop(unsafe { take(recorder) }));
}

/// Runs a recording, and waits for its end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_run(recording: *const Recording) -> Status {
    call(|| unsafe {
        let Recording { recording, gpu } = object(recording, "recording")?;
        gpu.wait(Some(recording.submit(0)?))
    })
}

/// Frees a recording.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_recording_free(recording: *mut Recording) {
    free(|| drop(unsafe { take(recording) }));
}

fn extents(tensor: &softalign::Tensor, argument: &'static str) -> Result<[usize; 2]> {
    <[usize; 2]>::try_from(tensor.shape().dims()).map_err(|_| Error::Shape {
        operation: "softalign",
        argument,
        wanted: "two extents".into(),
        got: tensor.shape().to_string(),
    })
}

/// Kernels see to it that they stay within their tensors; here a tensor is one matrix, all of it.
fn expect(
    operation: &'static str,
    argument: &'static str,
    tensor: &softalign::Tensor,
    wanted: [usize; 2],
) -> Result<()> {
    if tensor.shape().dims() == wanted {
        return Ok(());
    }
    let (wanted, got) = (gpu::Shape::from(wanted).to_string(), tensor.shape().to_string());
    Err(Error::Shape { operation, argument, wanted, got })
}
