//! Positions: vectors added to the embedded words, by place in the text.

use serde::{Deserialize, Serialize};

use super::Layers;
use crate::{
    Error, Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::{Parameters, Value},
    kernels::positions::{self as kernel, Order, sinusoids},
    model::{Initial, Parameter},
    names::setting,
};

/// The origin of the vectors of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionKind {
    /// Sines and cosines of wavelengths from 2 pi to 10,000 times that, in turn (Vaswani et al. 2017, section 3.5).
    Sinusoidal,
    /// The same, all sines before all cosines, as Marian's models have them.
    SinesFirst,
    /// A table that is trained.
    Learned,
}

/// The vectors of a text's places.
#[derive(Clone, Debug)]
pub struct Positions {
    vectors: Vectors,
    /// The row of a table that is the first place's.
    first: usize,
}

#[derive(Clone, Debug)]
enum Vectors {
    Sinusoids(Order),
    /// `[rows, D]`
    Learned(Parameter),
}

impl Positions {
    /// Positions of a kind; learned ones in a table `[rows, D]` whose row `first` is that of the first place.
    pub fn new(kind: PositionKind, name: &str, [rows, size]: [usize; 2], first: usize) -> Self {
        let initial = Initial::Normal((size as f32).sqrt().recip());
        match kind {
            PositionKind::Sinusoidal => Self { vectors: Vectors::Sinusoids(Order::InTurn), first: 0 },
            PositionKind::SinesFirst => Self { vectors: Vectors::Sinusoids(Order::SinesFirst), first: 0 },
            PositionKind::Learned => {
                let table = Parameter::new(format!("{name}.weight"), [rows, size], initial);
                Self { vectors: Vectors::Learned(table), first }
            }
        }
    }

    /// The table of learned ones.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        match &self.vectors {
            Vectors::Sinusoids(_) => None.into_iter(),
            Vectors::Learned(table) => Some(table).into_iter(),
        }
    }

    /// `x` `[B, T, D]` times `factor`, with the vectors of its places added.
    ///
    /// # Errors
    /// [`Error::Shape`] for more places than the table has.
    pub fn forward(&self, layers: &mut Layers, x: Value, factor: f32) -> Result<Value> {
        let table = match (&self.vectors, layers.graph.dims(x)) {
            (Vectors::Learned(table), _) => layers.parameter(table),
            (Vectors::Sinusoids(order), [_, steps, size]) => {
                let [steps, size] = [*steps, *size];
                layers.graph.constant([steps, size], sinusoids(steps, size, *order))?
            }
            // Of another shape: the operation says so.
            (Vectors::Sinusoids(_), _) => x,
        };
        layers.graph.positions(x, table, self.first, factor)
    }
}

impl Positions {
    /// The vectors of up to `places` places of `size` features, for the steps of a search.
    ///
    /// # Errors
    /// [`Error::Shape`] if the parameters lack the table; [`Error::Data`] if it has fewer places; [`Error::OutOfMemory`].
    pub fn tensors(&self, gpu: &Gpu, parameters: &Parameters, [places, size]: [usize; 2]) -> Result<PositionTensors> {
        let table = match &self.vectors {
            Vectors::Learned(table) => {
                let table = table.tensor(parameters)?;
                let learned = table.shape().rows().saturating_sub(self.first);
                if places > learned {
                    let message =
                        format!("is {places}; this model has learned {learned} positions, and texts cannot be longer");
                    return Err(Error::data(setting("max_length"), message));
                }
                table
            }
            Vectors::Sinusoids(order) => {
                gpu.tensor("positions", [places, size], Dtype::F32, &sinusoids(places, size, *order))?
            }
        };
        Ok(PositionTensors { table, first: self.first })
    }
}

/// The tensors of [`Positions`].
#[derive(Clone, Debug)]
pub struct PositionTensors {
    /// `[P, D]`
    table: Tensor,
    first: usize,
}

impl PositionTensors {
    /// Records `x` `[R, D]` times `factor` with the vector of step `number` after those counted, to `y`.
    ///
    /// # Errors
    /// [`Error::Shape`] for tensors that do not fit.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        x: &Tensor,
        (factor, counter, number): (f32, &Tensor, usize),
        y: &Tensor,
    ) -> Result<()> {
        let [batch, size] = [x.shape().rows(), x.shape().last()];
        let places = self.table.shape().rows();
        let positions = kernel::Positions { batch, steps: 1, size, places, first: self.first + number, factor };
        positions.record(recorder, &kernel::Inputs { x, table: &self.table, counter: Some(counter) }, y)
    }
}
