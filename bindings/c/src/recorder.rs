//! Kernels recorded on tensors, to be run as often as is wanted.

use std::ffi::c_char;

use softalign::{
    Error, Result,
    arrays::Operation,
    gpu,
    kernels::{
        matmul::{Activation, Matmul, Matrix, Operands, Tile},
        softmax::Softmax,
    },
};

use crate::{
    device::{Gpu, Tensor},
    pointers::{give, numbers, object, object_mut, take, text},
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

/// A GRU layer over whole rows in the form of cuDNN and PyTorch.
#[repr(C)]
pub struct Gru {
    /// [B, S, I].
    x: *const Tensor,
    /// The first state, [D, B, H].
    h0: *const Tensor,
    /// For each of D directions weight_ih [3H, I], weight_hh [3H, H], bias_ih [3H] and bias_hh [3H]; gates in the order r, z, n.
    weights: *const *const Tensor,
    /// D, 1 or 2.
    directions: usize,
    /// The steps of each row that are valid, [B]; all of them for NULL.
    lengths: *const Tensor,
    /// The state at each step, [B, S, D·H], 0 past a row's length.
    states: *mut Tensor,
    /// The last state of each direction, [D, B, H].
    last: *mut Tensor,
}

/// Records a GRU layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_record_gru(recorder: *mut Recorder, gru: *const Gru) -> Status {
    call(|| unsafe {
        let Gru { x, h0, weights, directions, lengths, states, last } = *object(gru, "gru")?;
        let mut inputs = vec![object(x, "x")?, object(h0, "h0")?];
        for weight in numbers(weights, directions.saturating_mul(4), "weights")? {
            inputs.push(object(*weight, "weights")?);
        }
        record(recorder, Operation::Gru, &inputs, lengths, &[object(states, "states")?, object(last, "last")?])
    })
}

/// Soft alignment (Bahdanau et al. 2015): `weights` = the softmax over keys of `energy·tanh(query + key)`, `context` = `weights·value`.
#[repr(C)]
pub struct AdditiveAttention {
    /// Projected, [B, T, A].
    query: *const Tensor,
    /// Projected, [B, S, A].
    key: *const Tensor,
    /// [A].
    energy: *const Tensor,
    /// [B, S, V].
    value: *const Tensor,
    /// The keys of each row that are valid, [B]; all of them for NULL.
    lengths: *const Tensor,
    /// [B, T, V].
    context: *mut Tensor,
    /// [B, T, S].
    weights: *mut Tensor,
}

/// Records soft alignment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_record_additive_attention(
    recorder: *mut Recorder,
    attention: *const AdditiveAttention,
) -> Status {
    call(|| unsafe {
        let AdditiveAttention { query, key, energy, value, lengths, context, weights } =
            *object(attention, "attention")?;
        let inputs = [object(query, "query")?, object(key, "key")?, object(energy, "energy")?, object(value, "value")?];
        let outputs = [object(context, "context")?, object(weights, "weights")?];
        record(recorder, Operation::AdditiveAttention, &inputs, lengths, &outputs)
    })
}

/// `context` = `softmax(query·keyᵀ / sqrt(D))·value` of each head (Vaswani et al. 2017).
#[repr(C)]
pub struct DotProductAttention {
    /// [B, N, T, D].
    query: *const Tensor,
    /// [B, N, S, D].
    key: *const Tensor,
    /// [B, N, S, D].
    value: *const Tensor,
    /// The keys of each row that are valid, [B]; all of them for NULL.
    lengths: *const Tensor,
    /// Whether a query sees only keys up to its own position.
    causal: bool,
    /// [B, N, T, D].
    context: *mut Tensor,
}

/// Records dot-product attention.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_record_dot_product_attention(
    recorder: *mut Recorder,
    attention: *const DotProductAttention,
) -> Status {
    call(|| unsafe {
        let DotProductAttention { query, key, value, lengths, causal, context } = *object(attention, "attention")?;
        let inputs = [object(query, "query")?, object(key, "key")?, object(value, "value")?];
        let operation = Operation::DotProductAttention { causal };
        record(recorder, operation, &inputs, lengths, &[object(context, "context")?])
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

/// Records an operation on whole tensors; it checks that they fit.
unsafe fn record(
    recorder: *mut Recorder,
    operation: Operation,
    inputs: &[&Tensor],
    lengths: *const Tensor,
    outputs: &[&Tensor],
) -> Result<()> {
    let Recorder(recorder) = unsafe { object_mut(recorder, "recorder") }?;
    let lengths = unsafe { lengths.as_ref() }.map(|lengths| &lengths.tensor);
    let [inputs, outputs] = [inputs, outputs].map(|all| all.iter().map(|one| &one.tensor).collect::<Vec<_>>());
    operation.record_on(recorder, &inputs, lengths, &outputs)
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
