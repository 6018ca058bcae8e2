//! What kernels ask of their arguments before anything is recorded: shaders run unchecked, so this is where sizes are proved.

use super::{matrix::Matrix, tunable::Tunable};
use crate::{
    Error, Result,
    gpu::{Dtype, Gpu, Shape, Tensor},
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

/// Extents of which none is 0, or past what kernels count.
pub(super) fn expect_extents(operation: &'static str, extents: &[(&'static str, usize)]) -> Result<()> {
    for (argument, extent) in extents {
        let valid = (1..=u32::MAX as usize).contains(extent);
        expect_setting(operation, argument, valid, "an extent from 1 to 2^32 - 1", *extent as f64)?;
    }
    Ok(())
}

/// A batch of matrices that is not empty and lies inside its tensor.
pub(super) fn expect_matrix(
    operation: &'static str,
    argument: &'static str,
    matrix: &Matrix<'_>,
    [batch, rows, columns]: [usize; 3],
) -> Result<()> {
    // Where strides are 0 no tensor bounds the extents.
    let counted = [batch, rows, columns].iter().all(|extent| (1..=u32::MAX as usize).contains(extent));
    if counted && matrix.end(rows, columns, batch) <= matrix.tensor.elements() {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        argument,
        wanted: format!("{batch} x [{rows}, {columns}], rows {} apart", matrix.stride),
        got: format!("{} from element {}", matrix.tensor.shape(), matrix.offset),
    })
}

/// Outputs of which none has memory in common with another.
pub(super) fn expect_apart(operation: &'static str, outputs: &[(&'static str, &Tensor)]) -> Result<()> {
    for (index, (argument, tensor)) in outputs.iter().enumerate() {
        if let Some((other, _)) = outputs[..index].iter().find(|(_, other)| other.overlaps(tensor)) {
            let (wanted, got) = (format!("memory of its own, apart from {other}"), "the same".into());
            return Err(Error::Shape { operation, argument, wanted, got });
        }
    }
    Ok(())
}

/// A tile that the kernel has a form for on this adapter; `default` is that of the shape at hand.
pub(super) fn expect_tile<T: Tunable>(gpu: &Gpu, tile: T, default: T) -> Result<()> {
    let tiles = gpu.tiles();
    if tile == default || T::candidates(tiles).contains(&tile) || T::every(tiles).contains(&tile) {
        return Ok(());
    }
    Err(Error::Shape {
        operation: T::KERNEL,
        argument: "tile",
        wanted: "one that `Tile::choose` gives for this adapter".into(),
        got: serde_json::to_string(&tile).unwrap_or_default(),
    })
}
