//! Rows brought to one size: layer normalisation (Ba, Kiros and Hinton, "Layer Normalization", 2016, section 3) and root mean
//! square layer normalisation (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, section 4), which is the same
//! without the mean.

use super::{
    expect::{expect_apart, expect_of, expect_scratch_of, expect_setting},
    forms,
    library::shader,
    reduction::ColumnSum,
    rounds::expect_rounds,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static LAYER_NORM: Shader = shader!("layer_norm", forwards);
pub(super) static LAYER_NORM_BACKWARD: Shader = shader!("layer_norm_backward", backwards);
pub(super) static LAYER_NORM_PARAMETERS_BACKWARD: Shader = shader!("layer_norm/parameters_backward", of_parameters);

const NAME: &str = "layer_norm";

/// How an invocation reads its part of a row. Rows in registers take lavapipe 60 to 80 % of the time of rows that are read three
/// times forward and twice backward (`[1536, 256]`, f32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// Element by element, where columns are no multiple of 4.
    Single,
    /// In 16-byte loads.
    Vector,
    /// In as many 16-byte loads at most, once: they stay in registers.
    Held(u32),
}

/// The most vec4s of a row that an invocation keeps, for narrow rows and for wide ones.
const HELD: [u32; 2] = [2, 8];

/// How a row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// By its mean and its variance around it.
    Layer,
    /// By its mean square.
    Rms,
}

/// `y[r] = (x[r] - mean) / sqrt(variance + epsilon) * gain + bias` of each row r. Under [`Norm::Rms`] the mean is taken for 0, and
/// the variance is the mean square.
///
/// A row without any spread becomes the bias. One whose variance is past f32 is not finite, as one with a NaN is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Independent rows.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
    /// How a row is measured.
    pub norm: Norm,
    /// Added to the variance; above 0.
    pub epsilon: f32,
}

/// What [`LayerNorm::record`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[rows, columns]`
    pub x: &'a Tensor,
    /// `[columns]`, f32.
    pub gain: &'a Tensor,
    /// `[columns]`, f32; nothing is added without it.
    pub bias: Option<&'a Tensor>,
}

/// What [`LayerNorm::record`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[rows, columns]`, of x's type.
    pub y: &'a Tensor,
    /// `[rows, 2]`, f32: mean and `1 / sqrt(variance + epsilon)` of each row. The gradients of gain and bias go down the columns,
    /// where no row can be measured again.
    pub statistics: &'a Tensor,
}

/// What the backward passes read.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// `[rows, columns]`
    pub x: &'a Tensor,
    /// `[columns]`, f32.
    pub gain: &'a Tensor,
    /// `[rows, 2]`, f32: what the forward pass gave.
    pub statistics: &'a Tensor,
    /// `[rows, columns]`, of x's type.
    pub d_y: &'a Tensor,
}

/// The gradients of the parameters, f32, or scratch for them.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// `[columns]`; scratch: [`LayerNorm::scratch`] elements.
    pub gain: &'a Tensor,
    /// The same, where there is a bias.
    pub bias: Option<&'a Tensor>,
}

impl LayerNorm {
    fn elements(&self) -> f64 {
        (self.rows * self.columns) as f64
    }

    /// Bytes of the statistics, and of gain and bias.
    fn small(&self) -> [f64; 2] {
        [2 * self.rows, 2 * self.columns].map(|elements| elements as f64 * ELEMENT as f64)
    }

    /// Operations and bytes of the forward pass with a bias.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let (bytes, [statistics, parameters]) = (self.elements() * dtype.bytes() as f64, self.small());
        let each = if self.norm == Norm::Layer { 8.0 } else { 6.0 };
        let transcendental = self.rows as f64;
        Cost {
            operations: each * self.elements(),
            transcendental,
            read: bytes + parameters,
            written: bytes + statistics,
        }
    }

    /// Operations and bytes of the gradient of x.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let (bytes, [statistics, parameters]) = (self.elements() * dtype.bytes() as f64, self.small());
        let read = 2.0 * bytes + statistics + 0.5 * parameters;
        Cost { operations: 13.0 * self.elements(), transcendental: 0.0, read, written: bytes }
    }

    /// Operations and bytes of the gradients of gain and bias, up to the sums of blocks.
    pub fn parameters_backward_cost(&self, dtype: Dtype) -> Cost {
        let (bytes, [statistics, _]) = (self.elements() * dtype.bytes() as f64, self.small());
        let written = 2.0 * self.scratch() as f64 * ELEMENT as f64;
        Cost { operations: 5.0 * self.elements(), transcendental: 0.0, read: 2.0 * bytes + statistics, written }
    }

    /// The sum that makes the gradient of gain, or of bias.
    fn sum(&self) -> ColumnSum {
        ColumnSum { rows: self.rows, columns: self.columns }
    }

    /// Elements of scratch for the gradient of each of gain and bias.
    pub fn scratch(&self) -> usize {
        self.sum().scratch()
    }

    fn is_vector(&self) -> bool {
        self.columns.is_multiple_of(4)
    }

    fn read(&self, tiles: &Tiles) -> Read {
        let fits = |held: &u32| self.columns <= (4 * tiles.row * held) as usize;
        match HELD.into_iter().find(fits).filter(|_| self.is_vector()) {
            Some(held) => Read::Held(held),
            None if self.is_vector() => Read::Vector,
            None => Read::Single,
        }
    }

    fn check(&self, recorder: &Recorder) -> Result<()> {
        let positive = self.epsilon > 0.0 && self.epsilon.is_finite();
        expect_setting(NAME, "epsilon", positive, "a number above 0", f64::from(self.epsilon))?;
        let rounds = 3 * self.columns.div_ceil(4 * recorder.gpu().tiles().row as usize);
        expect_rounds(recorder.gpu(), rounds, || format!("rows of {} elements", self.columns), "Use shorter rows.")
    }

    /// Tensors `[rows, columns]` of one type.
    fn expect_whole(&self, dtype: Dtype, tensors: &[(&'static str, &Tensor)]) -> Result<()> {
        let shape = [self.rows, self.columns];
        tensors.iter().try_for_each(|(argument, tensor)| expect_of(dtype, NAME, argument, tensor, &shape))
    }

    fn expect_parameter(&self, argument: &'static str, tensor: &Tensor) -> Result<()> {
        expect_of(Dtype::F32, NAME, argument, tensor, &[self.columns])
    }

    fn expect_statistics(&self, statistics: &Tensor) -> Result<()> {
        expect_of(Dtype::F32, NAME, "statistics", statistics, &[self.rows, 2])
    }

    /// Records y and the rows' statistics.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements or epsilon is not above 0, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<()> {
        let Inputs { x, gain, bias } = *inputs;
        let Outputs { y, statistics } = *outputs;
        let dtype = x.dtype().activation();
        self.expect_whole(dtype, &[("x", x), ("y", y)])?;
        self.check(recorder)?;
        self.expect_parameter("gain", gain)?;
        bias.map_or(Ok(()), |bias| self.expect_parameter("bias", bias))?;
        self.expect_statistics(statistics)?;
        expect_apart(NAME, &[("y", y), ("statistics", statistics)])?;
        let tiles = recorder.gpu().tiles();
        recorder.launch(&Launch {
            kernel: &LAYER_NORM,
            specialisation: forward(tiles, self.norm, bias.is_some(), self.read(tiles), dtype),
            params: &[self.rows as u32, self.columns as u32, self.epsilon.to_bits()],
            tensors: &[x, gain, bias.unwrap_or(gain), y, statistics],
            workgroups: grid(self.rows),
            cost: self.cost(dtype),
        })
    }

    /// Records d_x `[rows, columns]`, of x's type.
    ///
    /// # Errors
    /// As [`LayerNorm::record`].
    pub fn record_backward(&self, recorder: &mut Recorder, backward: &Backward<'_>, d_x: &Tensor) -> Result<()> {
        let Backward { x, gain, statistics, d_y } = *backward;
        let dtype = x.dtype().activation();
        self.expect_whole(dtype, &[("x", x), ("d_y", d_y), ("d_x", d_x)])?;
        self.check(recorder)?;
        self.expect_parameter("gain", gain)?;
        self.expect_statistics(statistics)?;
        let tiles = recorder.gpu().tiles();
        recorder.launch(&Launch {
            kernel: &LAYER_NORM_BACKWARD,
            specialisation: backward_form(tiles, self.norm, self.read(tiles), dtype),
            params: &[self.rows as u32, self.columns as u32],
            tensors: &[x, gain, statistics, d_y, d_x],
            workgroups: grid(self.rows),
            cost: self.backward_cost(dtype),
        })
    }

    /// Records the gradients of gain and, where there is one, of bias. Rows are summed in blocks, and blocks in a fixed order.
    ///
    /// # Errors
    /// As [`LayerNorm::record`], also if scratch is too small; as [`ColumnSum::record`] past 900 million rows.
    pub fn record_parameters_backward(
        &self,
        recorder: &mut Recorder,
        backward: &Backward<'_>,
        gradients: &Parameters<'_>,
        scratch: &Parameters<'_>,
    ) -> Result<()> {
        let Backward { x, statistics, d_y, .. } = *backward;
        let dtype = x.dtype().activation();
        self.expect_whole(dtype, &[("x", x), ("d_y", d_y)])?;
        self.check(recorder)?;
        self.expect_statistics(statistics)?;
        let biases = gradients.bias.zip(scratch.bias);
        let paired = biases.is_some() || (gradients.bias.is_none() && scratch.bias.is_none());
        expect_setting(NAME, "scratch.bias", paired, "scratch where a gradient is", f64::from(u8::from(!paired)))?;
        let sums = [(gradients.gain, scratch.gain)].into_iter().chain(biases);
        for (gradient, scratch) in sums.clone() {
            self.expect_parameter("gradient", gradient)?;
            expect_scratch_of(Dtype::F32, NAME, scratch, self.scratch())?;
        }
        let written: Vec<_> = sums.clone().flat_map(|(sum, blocks)| [("gradient", sum), ("scratch", blocks)]).collect();
        expect_apart(NAME, &written)?;
        let block = self.sum().expect_block()?;
        let tiles = *recorder.gpu().tiles();
        recorder.launch(&Launch {
            kernel: &LAYER_NORM_PARAMETERS_BACKWARD,
            specialisation: parameters_form(&tiles, biases.is_some(), self.is_vector(), dtype),
            params: &[self.rows as u32, self.columns as u32, block as u32],
            tensors: &[x, statistics, d_y, scratch.gain, scratch.bias.unwrap_or(scratch.gain)],
            workgroups: self.sum().workgroups(&tiles, block),
            cost: self.parameters_backward_cost(dtype),
        })?;
        sums.into_iter().try_for_each(|(sum, blocks)| self.sum().record_blocks(recorder, block, blocks, sum))
    }
}

fn forward(tiles: &Tiles, norm: Norm, bias: bool, read: Read, dtype: Dtype) -> Specialisation {
    backward_form(tiles, norm, read, dtype).define_if(bias, "BIAS")
}

fn backward_form(tiles: &Tiles, norm: Norm, read: Read, dtype: Dtype) -> Specialisation {
    let form = forms::row_reduction(tiles)
        .define_if(norm == Norm::Layer, "CENTRED")
        .define_if(read != Read::Single, "VECTOR")
        .element(dtype);
    match read {
        Read::Held(held) => form.define("REGISTERS").constant("HELD", held),
        Read::Single | Read::Vector => form,
    }
}

fn parameters_form(tiles: &Tiles, bias: bool, vector: bool, dtype: Dtype) -> Specialisation {
    forms::row(tiles)
        .define_if(bias, "BIAS")
        .define_if(vector, "VECTOR")
        .element(dtype)
        .constant("COLUMNS", tiles.columns)
}

/// A form for each norm, way to read a row, and type of activations.
fn each(tiles: &Tiles, form: impl Fn(Norm, Read, Dtype) -> Vec<Specialisation>) -> Vec<Specialisation> {
    let mut all = Vec::new();
    for dtype in forms::elements(tiles) {
        for norm in [Norm::Layer, Norm::Rms] {
            for read in [Read::Single, Read::Vector].into_iter().chain(HELD.map(Read::Held)) {
                all.extend(form(norm, read, *dtype));
            }
        }
    }
    all
}

fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    each(tiles, |norm, read, dtype| forms::either(|bias| forward(tiles, norm, bias, read, dtype)))
}

fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    each(tiles, |norm, read, dtype| vec![backward_form(tiles, norm, read, dtype)])
}

fn of_parameters(tiles: &Tiles) -> Vec<Specialisation> {
    let of = |dtype| forms::either(|bias| forms::either(|vector| parameters_form(tiles, bias, vector, dtype))).concat();
    forms::each_element(tiles, of).concat()
}
