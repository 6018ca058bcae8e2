//! The checks of a launch before it is recorded.

use super::{
    Cost, Gpu, Pipeline, Shader, Specialisation, Tensor,
    binding::{Access, Binding},
    guard::Guard,
    texture::Copied,
};
use crate::{Error, Result};

/// Why none but kernels of this crate may read textures.
const STALE: &str = "behind its tensor a texture holds what others have left there";

/// One dispatch of a shader.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The shader.
    pub kernel: &'static Shader,
    /// The shader's specialisation.
    pub specialisation: Specialisation,
    /// The words of its parameters, binding 0, in order; floats by their bits.
    pub params: &'a [u32],
    /// The tensors bound after the parameters, in the order of the bindings.
    pub tensors: &'a [&'a Tensor],
    /// The number of workgroups.
    pub workgroups: [u32; 3],
    /// The operations and bytes of the dispatch.
    pub cost: Cost,
}

/// Splits `workgroups` over two dimensions where one does not reach: the shader's linear index is
/// `workgroup_id.x + workgroup_id.y * num_workgroups.x`, and it guards the surplus.
pub fn grid(workgroups: usize) -> [u32; 3] {
    const LIMIT: usize = 65_535;
    let word = |count: usize| u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let rows = workgroups.div_ceil(LIMIT).max(1);
    [word(workgroups.div_ceil(rows)), word(rows), 1]
}

impl Launch<'_> {
    /// Checks everything that does not depend on what the shader computes.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Limit`].
    pub(super) fn check(&self, gpu: &Gpu, pipeline: &Pipeline, guard: Guard) -> Result<()> {
        self.check_workgroups(gpu, &pipeline.label)?;
        let [params, bindings @ ..] = &pipeline.bindings[..] else { return Ok(()) };
        if self.params.len() as u64 * 4 != params.least {
            return Err(self.wrong(
                "params",
                format!("the {} words of `{}`", params.least / 4, params.name),
                format!("{} words", self.params.len()),
            ));
        }
        if bindings.len() != self.tensors.len() {
            let names: Vec<_> = bindings.iter().map(|binding| binding.name.as_str()).collect();
            let wanted = format!("one for each of {}", names.join(", "));
            return Err(self.wrong("tensors", wanted, self.tensors.len().to_string()));
        }
        for (binding, tensor) in bindings.iter().zip(self.tensors) {
            self.check_tensor(gpu, binding, tensor, guard)?;
        }
        self.check_overlaps(bindings)
    }

    fn wrong(&self, argument: &'static str, wanted: String, got: String) -> Error {
        Error::Shape { operation: self.kernel.name, argument, wanted, got }
    }

    fn check_workgroups(&self, gpu: &Gpu, label: &str) -> Result<()> {
        let have = gpu.limits().max_compute_workgroups_per_dimension;
        match self.workgroups.iter().copied().find(|count| *count > have) {
            None => Ok(()),
            Some(need) => Err(Error::Limit {
                what: format!("kernel {label}"),
                need: u64::from(need),
                limit: "max_compute_workgroups_per_dimension",
                have: u64::from(have),
                remedy: "Use a smaller batch or shorter sequences.".into(),
            }),
        }
    }

    fn check_tensor(&self, gpu: &Gpu, binding: &Binding, tensor: &Tensor, guard: Guard) -> Result<()> {
        let Binding { name, stride, least, .. } = binding;
        let got = || format!("{} {}", tensor.dtype(), tensor.shape());
        if !tensor.is_on(gpu) {
            return Err(self.wrong("tensors", format!("`{name}` on the device that records"), "another's".into()));
        }
        // A kernel has checked the types of its tensors, and binds anything in place of what it does without.
        let fits = guard == Guard::Kernel || binding.holds(tensor.dtype());
        if !fits || tensor.elements() == 0 {
            return Err(self.wrong("tensors", format!("the elements of `{name}` in the shader"), got()));
        }
        let bytes = match guard {
            Guard::Kernel => tensor.padded_bytes(),
            Guard::Driver => tensor.bytes(),
        };
        if bytes < *least && (binding.used || guard == Guard::Driver) {
            return Err(self.wrong("tensors", format!("`{name}` with at least {least} bytes"), got()));
        }
        if binding.access == Access::Texture {
            if guard == Guard::Driver {
                let wanted = format!("`{name}` as a buffer: {STALE}");
                return Err(self.wrong("tensors", wanted, "a texture".into()));
            }
            if binding.used {
                Copied::check(gpu, tensor)?;
            }
        }
        let whole = tensor.bytes().is_multiple_of(stride.unwrap_or(1));
        match guard {
            Guard::Driver if !whole || !tensor.bytes().is_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT) => {
                let wanted = format!("`{name}` with whole elements of {} bytes", stride.unwrap_or(1).max(4));
                Err(self.wrong("tensors", wanted, got()))
            }
            // The last element reaches past the end of the tensor, and is stored whole.
            Guard::Kernel if !whole && binding.stored && !tensor.is_padded() => {
                let wanted =
                    format!("`{name}` as a window that ends at a multiple of 16 bytes, or where its tensor does");
                Err(self.wrong("tensors", wanted, got()))
            }
            _ => Ok(()),
        }
    }

    /// wgpu keeps track of whole buffers: within a dispatch one is either read or written. Two windows of a buffer may both be
    /// bound for writing if they lie apart, whether or not the shader stores to them: WebGPU asks for that. A kernel may give any
    /// tensor in place of one that its form does not use, which is not bound.
    fn check_overlaps(&self, bindings: &[Binding]) -> Result<()> {
        let bound = bindings.iter().zip(self.tensors);
        let bound: Vec<_> = bound.filter(|(binding, _)| binding.used && binding.access != Access::Texture).collect();
        for (index, (one, tensor)) in bound.iter().enumerate() {
            for (other, second) in &bound[..index] {
                let both_written = one.access == Access::Write && other.access == Access::Write;
                let apart = match both_written {
                    true => !tensor.overlaps(second),
                    false => one.access == other.access || tensor.buffer() != second.buffer(),
                };
                if !apart {
                    let wanted = format!("`{}` and `{}` in different buffers", other.name, one.name);
                    return Err(self.wrong("tensors", wanted, "the same memory".into()));
                }
            }
        }
        Ok(())
    }
}
