//! Tensors copied into textures, for kernels on drivers that load from these in less time than from buffers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{Gpu, Tensor, WIDEST};
use crate::{Error, Result};

/// Texels of four f32 in a row of a texture: element `i` of a tensor lies in texel `(i / 4 % TEXELS, i / 4 / TEXELS)`.
pub(super) const TEXELS: u32 = 1 << 10;

/// The textures in use, by the binding that they serve and their rows. Whatever is dispatched has its copies made right before, so
/// all dispatches can share them; what no dispatch has any more is gone.
#[derive(Debug, Default)]
pub(super) struct Textures {
    made: Mutex<HashMap<(usize, u32), Weak<wgpu::Texture>>>,
}

/// A tensor of f32 that is copied into a texture before each run of a dispatch.
#[derive(Debug)]
pub(super) struct Copied {
    tensor: Tensor,
    texture: Arc<wgpu::Texture>,
}

impl Copied {
    /// Whether a tensor can be bound in such a place.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor in a caller's buffer that cannot be copied, [`Error::Limit`] for one that no texture can hold.
    pub fn check(gpu: &Gpu, tensor: &Tensor) -> Result<()> {
        if !tensor.buffer().usage().contains(wgpu::BufferUsages::COPY_SRC) {
            return Err(Error::Shape {
                operation: "texture",
                argument: "tensor",
                wanted: "in a buffer with the usage COPY_SRC, for this adapter reads a copy of it".into(),
                got: format!("{} with {:?}", tensor.shape(), tensor.buffer().usage()),
            });
        }
        let (need, have) = (rows(tensor), u64::from(gpu.limits().max_texture_dimension_2d));
        if need > have {
            return Err(Error::Limit {
                what: format!("a texture of a tensor {}", tensor.shape()),
                need,
                limit: "max_texture_dimension_2d",
                have,
                remedy: "Use a smaller batch or model, or shorter sequences.".into(),
            });
        }
        Ok(())
    }

    /// Of what a dispatch binds in such a place, and has [checked](Self::check).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, binding: usize, tensor: &Tensor) -> Result<Self> {
        // Few different sizes.
        let rows = (rows(tensor) as u32).next_power_of_two().min(gpu.limits().max_texture_dimension_2d);
        let mut made = gpu.inner.textures.made.lock().unwrap_or_else(PoisonError::into_inner);
        let texture = match made.get(&(binding, rows)).and_then(Weak::upgrade) {
            Some(texture) => texture,
            None => {
                let texture = Arc::new(texture(gpu, rows)?);
                made.retain(|_, texture| texture.strong_count() > 0);
                made.insert((binding, rows), Arc::downgrade(&texture));
                texture
            }
        };
        Ok(Self { tensor: tensor.clone(), texture })
    }

    pub fn view(&self) -> wgpu::TextureView {
        self.texture.create_view(&wgpu::TextureViewDescriptor::default())
    }

    /// Encodes the copy: of whole rows, then of what is left.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let texels = texels(&self.tensor);
        let row = u64::from(TEXELS);
        let parts = [(0, row, texels / row), (texels / row, texels % row, 1)];
        for (y, width, height) in parts.into_iter().filter(|(_, width, height)| width * height > 0) {
            let layout = wgpu::TexelCopyBufferLayout {
                offset: self.tensor.offset() + y * row * WIDEST,
                bytes_per_row: Some(TEXELS * WIDEST as u32),
                rows_per_image: None,
            };
            encoder.copy_buffer_to_texture(
                wgpu::TexelCopyBufferInfo { buffer: self.tensor.buffer(), layout },
                wgpu::TexelCopyTextureInfo {
                    origin: wgpu::Origin3d { x: 0, y: y as u32, z: 0 },
                    ..self.texture.as_image_copy()
                },
                wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
            );
        }
    }
}

/// Rows of texels that a tensor fills, the last of them perhaps in part.
fn rows(tensor: &Tensor) -> u64 {
    texels(tensor).div_ceil(u64::from(TEXELS))
}

/// A texture of `rows` times [`TEXELS`] texels.
fn texture(gpu: &Gpu, rows: u32) -> Result<wgpu::Texture> {
    let label = "copied tensor";
    let scopes = gpu.error_scopes();
    let texture = gpu.device().create_texture(&wgpu::TextureDescriptor {
        label: Some(label),
        size: wgpu::Extent3d { width: TEXELS, height: rows, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba32Float,
        usage: wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::TEXTURE_BINDING,
        view_formats: &[],
    });
    scopes.finish_making(label, u64::from(rows) * u64::from(TEXELS) * WIDEST)?;
    Ok(texture)
}

/// Texels of four elements, the padding of the last included.
fn texels(tensor: &Tensor) -> u64 {
    tensor.padded_bytes() / WIDEST
}
