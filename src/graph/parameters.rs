//! Named parameters in flat buffers, so that clipping and Adam are a few dispatches however many tensors there are.

use std::collections::HashMap;

use crate::{
    Error, Result,
    gpu::{Dtype, ELEMENT, Gpu, Shape, Tensor},
};

/// Elements to which each parameter's start is aligned: 256 bytes, the largest binding alignment of any adapter.
const ALIGNMENT: usize = 64;

/// Named tensors side by side in as few flat buffers as the adapter's binding limit allows.
#[derive(Clone, Debug)]
pub struct Parameters {
    names: Vec<String>,
    places: HashMap<String, Place>,
    blocks: Vec<Tensor>,
}

#[derive(Clone, Debug)]
struct Place {
    block: usize,
    offset: usize,
    shape: Shape,
}

impl Parameters {
    /// Zeroed parameters of the given names and shapes.
    ///
    /// # Errors
    /// [`Error::Limit`] if one of them is larger than a binding may be; [`Error::OutOfMemory`] when memory runs out.
    pub fn new(gpu: &Gpu, tensors: impl IntoIterator<Item = (String, Shape)>) -> Result<Self> {
        Self::laid_out(gpu, tensors.into_iter().map(|(name, shape)| (name, shape, 0)))
    }

    /// Tensors of one group after those of another, each group in buffers of its own.
    fn laid_out(gpu: &Gpu, tensors: impl Iterator<Item = (String, Shape, usize)>) -> Result<Self> {
        let limit = (gpu.limits().max_storage_buffer_binding_size.min(gpu.limits().max_buffer_size) / ELEMENT) as usize;
        let (mut names, mut places, mut sizes, mut begun) = (Vec::new(), HashMap::new(), vec![0], None);
        for (name, shape, group) in tensors {
            let size = shape.elements().checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX);
            if size > limit {
                return Err(Error::Limit {
                    what: format!("parameter `{name}` {shape}"),
                    need: (size as u64).saturating_mul(ELEMENT),
                    limit: "max_storage_buffer_binding_size",
                    have: limit as u64 * ELEMENT,
                    remedy: "Use a smaller vocabulary or model, or another adapter.".into(),
                });
            }
            if sizes[sizes.len() - 1] + size > limit || begun.is_some_and(|begun| begun != group) {
                sizes.push(0);
            }
            begun = Some(group);
            let block = sizes.len() - 1;
            places.insert(name.clone(), Place { block, offset: sizes[block], shape });
            names.push(name);
            sizes[block] += size;
        }
        let blocks = sizes.into_iter().map(|size| gpu.zeros("parameters", [size.max(ALIGNMENT)], Dtype::F32));
        Ok(Self { names, places, blocks: blocks.collect::<Result<_>>()? })
    }

    /// Zeroed tensors with the same names and places: gradients, moments.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when memory runs out.
    pub fn like(&self, gpu: &Gpu, label: &str) -> Result<Self> {
        let blocks = self.blocks.iter().map(|block| gpu.zeros(label, block.shape().clone(), Dtype::F32));
        Ok(Self { blocks: blocks.collect::<Result<_>>()?, ..self.clone() })
    }

    /// Copies of all tensors, with the values that they hold now.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when memory runs out.
    pub fn copied(&self, gpu: &Gpu, label: &str) -> Result<Self> {
        let copies = self.like(gpu, label)?;
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) });
        for (from, to) in self.blocks.iter().zip(&copies.blocks) {
            encoder.copy_buffer_to_buffer(from.buffer(), from.offset(), to.buffer(), to.offset(), from.bytes());
        }
        gpu.queue().submit([encoder.finish()]);
        Ok(copies)
    }

    /// The same tensors, with the values that they hold now, in other buffers: first those of group 0, then those of group 1, and so
    /// on, none with two groups. With the group of each buffer.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when memory runs out.
    pub fn in_groups(&self, gpu: &Gpu, group: impl Fn(&str) -> usize) -> Result<(Self, Vec<usize>)> {
        let mut tensors: Vec<_> =
            self.names.iter().map(|name| (name.clone(), self.places[name].shape.clone(), group(name))).collect();
        tensors.sort_by_key(|(.., group)| *group);
        let grouped = Self { names: self.names.clone(), ..Self::laid_out(gpu, tensors.into_iter())? };
        let mut groups = vec![0; grouped.blocks.len()];
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for name in &self.names {
            groups[grouped.places[name].block] = group(name);
            if let (Some(from), Some(to)) = (self.tensor(name), grouped.tensor(name)) {
                encoder.copy_buffer_to_buffer(from.buffer(), from.offset(), to.buffer(), to.offset(), from.bytes());
            }
        }
        gpu.queue().submit([encoder.finish()]);
        Ok((grouped, groups))
    }

    /// The tensors in the first `count` buffers.
    pub fn first_blocks(&self, count: usize) -> Self {
        let places = self.places.iter().filter(|(_, place)| place.block < count);
        let places: HashMap<_, _> = places.map(|(name, place)| (name.clone(), place.clone())).collect();
        let names = self.names.iter().filter(|name| places.contains_key(*name)).cloned().collect();
        Self { names, places, blocks: self.blocks.iter().take(count).cloned().collect() }
    }

    /// These tensors and others, whose names get a prefix.
    pub fn with(&self, prefix: &str, others: &Self) -> Self {
        let mut all = self.clone();
        for name in &others.names {
            let prefixed = format!("{prefix}{name}");
            let place = others.places[name].clone();
            all.places.insert(prefixed.clone(), Place { block: self.blocks.len() + place.block, ..place });
            all.names.push(prefixed);
        }
        all.blocks.extend_from_slice(&others.blocks);
        all
    }

    /// The names, in the order given.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The flat buffers; between tensors and behind them lie zeros.
    pub fn blocks(&self) -> &[Tensor] {
        &self.blocks
    }

    /// The number of values in all tensors.
    pub fn elements(&self) -> usize {
        self.places.values().map(|place| place.shape.elements()).sum()
    }

    /// The tensor that has the place here which `tensor` has among `others`, whose first buffers are laid out as these.
    pub fn beside(&self, others: &Self, tensor: &Tensor) -> Option<Tensor> {
        let block = others.blocks.iter().position(|block| block.buffer() == tensor.buffer())?;
        self.blocks.get(block)?.part(tensor.offset(), tensor.shape().clone(), tensor.dtype()).ok()
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<Tensor> {
        let place = self.places.get(name)?;
        self.blocks[place.block].part(place.offset as u64 * ELEMENT, place.shape.clone(), Dtype::F32).ok()
    }
}
