//! What kernels ask of their arguments before anything is recorded: shaders run unchecked, so this is where sizes are proved.

use crate::{
    Error, Result,
    gpu::{Shape, Tensor},
};

/// A tensor of as many elements as `shape`, none of whose extents is 0.
pub(super) fn expect(operation: &'static str, argument: &'static str, tensor: &Tensor, shape: &[usize]) -> Result<()> {
    let wanted = Shape::from(shape);
    if wanted.elements() == tensor.elements() && wanted.elements() > 0 {
        return Ok(());
    }
    let got = tensor.shape().to_string();
    Err(Error::Shape { operation, argument, wanted: format!("{wanted}, not empty"), got })
}

/// Scratch of at least `elements`.
pub(super) fn expect_scratch(operation: &'static str, scratch: &Tensor, elements: usize) -> Result<()> {
    if scratch.elements() >= elements {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        argument: "scratch",
        wanted: format!("at least {elements} elements"),
        got: scratch.shape().to_string(),
    })
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
