//! What kernels ask of their arguments before anything is recorded: shaders run unchecked, so this is where sizes are proved.

use crate::{
    Error, Result,
    gpu::{Dtype, Shape, Tensor},
};

/// A tensor of as many elements as `shape`, none of whose extents is 0, of four bytes each.
pub(super) fn expect(operation: &'static str, argument: &'static str, tensor: &Tensor, shape: &[usize]) -> Result<()> {
    expect_of(four_bytes(tensor), operation, argument, tensor, shape)
}

/// As [`expect`], of `dtype`: what may be f16 has one type within a launch.
pub(super) fn expect_of(
    dtype: Dtype,
    operation: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    shape: &[usize],
) -> Result<()> {
    let wanted = Shape::from(shape);
    if wanted.elements() == tensor.elements() && wanted.elements() > 0 && tensor.dtype() == dtype {
        return Ok(());
    }
    let got = format!("{} {}", tensor.dtype(), tensor.shape());
    Err(Error::Shape { operation, argument, wanted: format!("{dtype} {wanted}, not empty"), got })
}

/// Scratch of at least `elements`, of four bytes each.
pub(super) fn expect_scratch(operation: &'static str, scratch: &Tensor, elements: usize) -> Result<()> {
    expect_scratch_of(four_bytes(scratch), operation, scratch, elements)
}

/// As [`expect_scratch`], of `dtype`.
pub(super) fn expect_scratch_of(
    dtype: Dtype,
    operation: &'static str,
    scratch: &Tensor,
    elements: usize,
) -> Result<()> {
    if scratch.elements() >= elements && scratch.dtype() == dtype {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        argument: "scratch",
        wanted: format!("{dtype}, at least {elements} elements"),
        got: format!("{} {}", scratch.dtype(), scratch.shape()),
    })
}

/// What a tensor should be that may be f32 or u32.
fn four_bytes(tensor: &Tensor) -> Dtype {
    if tensor.dtype() == Dtype::F16 { Dtype::F32 } else { tensor.dtype() }
}

/// A tensor of `dtype`, whatever its shape.
pub(super) fn expect_dtype(
    dtype: Dtype,
    operation: &'static str,
    argument: &'static str,
    tensor: &Tensor,
) -> Result<()> {
    if tensor.dtype() == dtype {
        return Ok(());
    }
    Err(Error::Shape { operation, argument, wanted: dtype.to_string(), got: tensor.dtype().to_string() })
}

/// A setting that must lie in a range.
pub(super) fn expect_setting(
    operation: &'static str,
    argument: &'static str,
    valid: bool,
    wanted: &str,
    got: f64,
) -> Result<()> {
    if valid {
        return Ok(());
    }
    Err(Error::Shape { operation, argument, wanted: wanted.to_owned(), got: got.to_string() })
}
