//! Matrix product with optional bias, activation and accumulation: `C = activation(op(A)·op(B) + bias)`, batched.
//! Its backward is itself: `dA = dC·op(B)ᵀ`, `dB = op(A)ᵀ·dC`.
//!
//! Rungs, subgroup form on lavapipe, two cores, f32 at 1024^3 unless said otherwise (GFLOP/s, ceiling 172; NN, NT, TN):
//!
//! | change | before | after |
//! |---|---|---|
//! | addresses made before the loop, no condition around a load, each sum read and written once for four steps of k | 59, 65, 43 | 71, 77, 61 |
//! | of A only one row at a time is passed round (TN) | 65 | 70 |
//! | workgroups run down the rows, so that a panel of B stays in the cache (2048^3; 2048 x 256 x 10000) | 46; 42 | 67; 71 |
//! | a width of loads for each matrix (1536 x 768 x 75 forward, its gradients of input and weight) | 28, 29, 25 | 40, 42, 46 |
//! | eight steps of k a round; 64 x 64, 64 x 32, 16 x 128 tiles | 71 | 53; 63, 66, 53 (all lost) |
//! | 64-bit words, the columns of a tile outermost; with its rows outermost TN falls to 33 | 65, 70, 64 | 74, 82, 72 |
//!
//! Tiles in workgroup memory, as AMD's RDNA2 compiler sees them: addresses made once and constant parts of them added last
//! took the inner loop from 77 to 89 % fused multiply-adds, the whole loop from 69 to 80 %.
//!
//! Cooperative matrices, as RDNA3's compiler sees them (RADV, Mesa 25, which takes subgroups of 32): NT 72 registers, none spilled,
//! 8 subgroups a SIMD, which LDS limits, 8 multiplications of 16 x 16 x 16 a round and 16 loads for them; but a factor that does not
//! lie along k is gathered in 16 bits, NN by 64 loads, TN by 128.

mod bound;
mod cooperative;
mod row;
mod tile;

use bound::{Bound, Run};
#[cfg(feature = "validate")]
pub(crate) use cooperative::cooperative_takes;
pub use cooperative::cooperative_trials;
use cooperative::{Matrices, SIDE};
pub use tile::Tile;

pub use super::matrix::Matrix;
use super::{
    expect::{expect, expect_matrix, expect_setting, expect_tile},
    forms,
    library::shader,
    tunable::Tunable,
};
use crate::{
    Error, Result,
    gpu::{AdapterClass, Cost, Dtype, Gpu, Launch, Recorder, Shader, Specialisation, Tensor, Tiles},
};

pub(super) static MATMUL: Shader = shader!("matmul", specialisations);
pub(super) static MATMUL_COOPERATIVE: Shader = shader!("matmul/cooperative", cooperative::specialisations);
pub(super) static MATMUL_ROW: Shader = shader!("matmul/row", row::by_rows);
pub(super) static MATMUL_ROW_BY_COLUMNS: Shader = shader!("matmul/row_by_columns", row::by_columns);

/// What is applied to each element of the product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
}

/// `C[batch] = activation(op(A)·op(B) + bias)` (or `+=` with `accumulate`); op(A) is `[M, K]`, op(B) `[K, N]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Matmul {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Number of products (at least 1).
    pub batch: usize,
    /// A is stored as `[K, M]`.
    pub transpose_a: bool,
    /// B is stored as `[N, K]`.
    pub transpose_b: bool,
    /// Applied last.
    pub activation: Activation,
    /// Add to what C holds, before the activation.
    pub accumulate: bool,
}

/// The operands of a [`Matmul`], C included.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// `[batch, M, K]`, or `[batch, K, M]` with [`Matmul::transpose_a`].
    pub a: Matrix<'a>,
    /// `[batch, K, N]`, or `[batch, N, K]` with [`Matmul::transpose_b`].
    pub b: Matrix<'a>,
    /// `[N]`, f32, added to each row of C.
    pub bias: Option<&'a Tensor>,
    /// `[batch, M, N]`, written; with [`Matmul::accumulate`] read as well.
    pub c: Matrix<'a>,
}

/// A product's operands, and where the sums of op(A)'s rows go, `[M]`, if they are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summed<'a> {
    pub operands: Operands<'a>,
    pub sums: Option<&'a Tensor>,
}

impl Operands<'_> {
    fn types(&self) -> Types {
        [&self.a, &self.b, &self.c].map(|matrix| float(matrix.tensor))
    }
}

/// Which matrices 16-byte loads serve, and whether the last steps of k are fewer than four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loads {
    a: bool,
    b: bool,
    c: bool,
    tail: bool,
}

impl Loads {
    /// The form that serves it. Of the odd sizes, those of an output layer over an odd vocabulary keep wide loads where they
    /// can: logits (C is odd), and the gradients of what it multiplies (A is odd). The others share one form.
    fn served(self) -> Self {
        if self.b && (self.a || self.c) { self } else { Self { a: false, b: false, c: false, tail: true } }
    }

    /// Whether A and B are read from textures.
    fn in_textures(self, tiles: &Tiles, tile: Tile, [a, b, _]: Types) -> [bool; 2] {
        let textures = tiles.textures && tile.subgroups;
        [(self.a, a), (self.b, b)].map(|(fours, dtype)| textures && fours && dtype == Dtype::F32)
    }

    /// Each form that some product takes: a row of `[.., K]` is no multiple of four where K is not.
    fn every(transpose_a: bool, transpose_b: bool) -> Vec<Self> {
        let all = (0..16).map(|bits| {
            let [a, b, c, tail] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            let tail = tail && (transpose_a || !a) && !(transpose_b && b);
            Self { a, b, c, tail }.served()
        });
        forms::distinct(all)
    }
}

/// Where the sums of op(A)'s rows go: nowhere, into C's binding behind or before it, or into one of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sums {
    None,
    Beside,
    Apart,
}

/// What computes the sums of a product.
#[derive(Clone, Copy, Debug)]
enum By {
    Tile(Tile),
    Matrices(Matrices),
}

/// What of a product is specialised beside its tile.
#[derive(Clone, Copy, Debug)]
struct Form {
    types: Types,
    slices: u32,
    loads: Loads,
    sums: Sums,
}

/// The types of A, B and C.
pub type Types = [Dtype; 3];

const SINGLE: Types = [Dtype::F32; 3];
/// A layer, and the gradient of what it reads: B is its weight.
const LAYER: Types = [Dtype::F16, Dtype::F32, Dtype::F16];
/// The gradient of a layer's weight; scores of activations by activations.
const WEIGHT: Types = [Dtype::F16, Dtype::F16, Dtype::F32];
/// A product of activations.
const ACTIVATIONS: Types = [Dtype::F16; 3];
/// What an attention's weights weight, and its gradient, and those of what made scores: weights and scores are f32.
const WEIGHTED: Types = [Dtype::F32, Dtype::F16, Dtype::F16];

/// The longest sum of one dispatch by the rounds that a driver goes through ([`super::rounds`]); longer ones take several. Where
/// the inner loops are unrolled, four steps of k are one round; where they are kept as loops, they are about 125.
fn longest(gpu: &Gpu, tile: &Tile) -> usize {
    match (gpu.class(), gpu.checked(), tile.subgroups) {
        (AdapterClass::Cpu, true, _) => 1 << 10,
        (AdapterClass::Cpu, false, false) => 1 << 12,
        _ => 1 << 16,
    }
}

impl Matmul {
    /// Whether there is a form for such types: all f32; with f16 those that a layer `x W^T` or `x W` takes, forward and backward,
    /// those that an attention's scores and weights take, and products of activations alone.
    pub fn takes(&self, types: Types) -> bool {
        let plain = self.activation == Activation::None;
        match types {
            SINGLE => true,
            LAYER => !self.transpose_a,
            WEIGHT => self.transpose_a != self.transpose_b && plain,
            WEIGHTED => !self.transpose_b && plain,
            ACTIVATIONS => plain,
            _ => false,
        }
    }

    /// Operations and bytes of all products in f32.
    pub fn cost(&self) -> Cost {
        self.cost_of(SINGLE)
    }

    /// Operations and bytes of all products.
    pub fn cost_of(&self, types: Types) -> Cost {
        let (m, n, k, batch) = (self.m as f64, self.n as f64, self.k as f64, self.batch as f64);
        let [a, b, c] = types.map(|dtype| dtype.bytes() as f64);
        Cost {
            operations: 2.0 * batch * m * n * k,
            transcendental: if self.activation == Activation::None { 0.0 } else { batch * m * n },
            read: batch * (a * m * k + b * k * n + if self.accumulate { c * m * n } else { 0.0 }),
            written: batch * c * m * n,
        }
    }

    /// Whether the sums of op(A)'s rows can be had beside a product of such types: where it may be the gradient of a weight.
    fn sums(&self, types: Types) -> bool {
        let plain = self.activation == Activation::None;
        plain && self.transpose_a && !self.transpose_b && (types == SINGLE || types == WEIGHT)
    }

    fn each_sums(&self, types: Types) -> &'static [Sums] {
        if self.sums(types) { &[Sums::None, Sums::Beside, Sums::Apart] } else { &[Sums::None] }
    }

    /// Every product that has forms of its own, whatever its extents.
    fn each() -> Vec<Self> {
        let activations = [Activation::None, Activation::Tanh, Activation::Sigmoid];
        let each = forms::pairs(activations, &(0..8).collect::<Vec<_>>()).into_iter();
        each.map(|(activation, bits)| {
            let [transpose_a, transpose_b, accumulate] = [1, 2, 4].map(|bit| bits & bit != 0);
            Self { transpose_a, transpose_b, accumulate, activation, ..Self::default() }
        })
        .collect()
    }

    fn specialisation(&self, tiles: &Tiles, tile: Tile, form: Form) -> Specialisation {
        let Form { types, slices, loads, sums } = form;
        let [a, b, c] = types.map(|dtype| dtype == Dtype::F16);
        let [texture_a, texture_b] = loads.in_textures(tiles, tile, types);
        let form = Specialisation::new()
            .define_if(tile.subgroups, "SUBGROUPS")
            .define_if(tile.subgroups && tiles.wide && loads.b, "WIDE")
            .define_if(a, "HALF_A")
            .define_if(b, "HALF_B")
            .define_if(c, "HALF_C")
            .define_if(loads.a, "VECTOR_A")
            .define_if(loads.b, "VECTOR_B")
            .define_if(loads.c, "VECTOR_C")
            .define_if(loads.tail, "TAIL")
            .define_if(self.transpose_a, "TRANSPOSE_A")
            .define_if(self.transpose_b, "TRANSPOSE_B")
            .define_if(self.accumulate, "ACCUMULATE")
            .define_if(sums != Sums::None, "SUMS")
            .define_if(sums == Sums::Apart, "APART")
            .define_if(self.activation == Activation::Tanh, "TANH")
            .define_if(self.activation == Activation::Sigmoid, "SIGMOID")
            .textures(&[(texture_a, "TEXTURE_A"), (texture_b, "TEXTURE_B")])
            .constant("LANES", tile.lanes)
            .constant("GROUPS", tile.groups)
            .constant("ROWS", tile.rows)
            .constant("COLUMNS", tile.columns);
        if tile.subgroups { form } else { form.constant("SLICES", slices) }
    }

    /// Records the product.
    ///
    /// # Errors
    /// [`Error::Shape`] if a matrix reaches past its tensor, or there is no form for their types ([`Matmul::takes`]) or the tile,
    /// and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, tile: Tile, operands: &Operands<'_>) -> Result<()> {
        self.record_with(recorder, tile, &Summed { operands: *operands, sums: None })
    }

    /// Records the product `Aᵀ·B` and, in the same dispatch, the sums `[M]` of A's columns: the gradients of a layer's weight and
    /// of its bias, where A is the gradient of its output. With [`Matmul::accumulate`] both are added to what is there.
    ///
    /// # Errors
    /// As [`Matmul::record`]; [`Error::Shape`] for another product than one of a transposed A by B alone, or several.
    pub fn record_summed(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        operands: &Operands<'_>,
        sums: &Tensor,
    ) -> Result<()> {
        self.record_with(recorder, tile, &Summed { operands: *operands, sums: Some(sums) })
    }

    /// Records several products of the same sizes that have nothing to do with one another: in one dispatch, if one binding holds all
    /// of each operand, equally far apart.
    pub(super) fn record_all(&self, recorder: &mut Recorder, tile: Tile, products: &[Summed<'_>]) -> Result<()> {
        products.iter().try_for_each(|product| self.check(recorder.gpu(), tile, product))?;
        let short = self.k <= longest(recorder.gpu(), &tile);
        match Bound::of(recorder.gpu(), products).filter(|_| short && self.batch == 1) {
            Some(bound) => self.launch(recorder, self.by(recorder.gpu(), tile, bound.types), products.len(), &bound),
            None => products.iter().try_for_each(|product| self.record_with(recorder, tile, product)),
        }
    }

    fn record_with(&self, recorder: &mut Recorder, tile: Tile, product: &Summed<'_>) -> Result<()> {
        self.check(recorder.gpu(), tile, product)?;
        let Summed { operands, sums } = product;
        if self.k > longest(recorder.gpu(), &tile) {
            return self.record_in_parts(recorder, tile, product);
        }
        if sums.is_none() && self.is_row(operands.types()) {
            return self.record_row(recorder, operands);
        }
        let by = self.by(recorder.gpu(), tile, operands.types());
        self.launch_alone(recorder, by, product)
    }

    /// Records a product that is short enough for one dispatch.
    fn record_by(&self, recorder: &mut Recorder, by: By, product: &Summed<'_>) -> Result<()> {
        self.expect_operands(product)?;
        self.launch_alone(recorder, by, product)
    }

    fn launch_alone(&self, recorder: &mut Recorder, by: By, product: &Summed<'_>) -> Result<()> {
        let bound = Bound::of(recorder.gpu(), &[*product]);
        bound.map_or(Ok(()), |bound| self.launch(recorder, by, self.batch, &bound))
    }

    /// By cooperative matrices where they are right and may pay, else by the tile.
    fn by(&self, gpu: &Gpu, tile: Tile, types: Types) -> By {
        self.matrices(gpu, types).map_or(By::Tile(tile), By::Matrices)
    }

    fn check(&self, gpu: &Gpu, tile: Tile, product: &Summed<'_>) -> Result<()> {
        expect_tile(gpu, tile, Tile::of(gpu.tiles(), self.m))?;
        self.expect_operands(product)
    }

    fn expect_operands(&self, product: &Summed<'_>) -> Result<()> {
        let Summed { operands: Operands { a, b, bias, c }, sums } = product;
        let (a_rows, a_columns) = if self.transpose_a { (self.k, self.m) } else { (self.m, self.k) };
        let (b_rows, b_columns) = if self.transpose_b { (self.n, self.k) } else { (self.k, self.n) };
        for (argument, matrix, rows, columns) in
            [("a", a, a_rows, a_columns), ("b", b, b_rows, b_columns), ("c", c, self.m, self.n)]
        {
            expect_matrix("matmul", argument, matrix, [self.batch, rows, columns])?;
        }
        if let Some(bias) = bias {
            expect("matmul", "bias", bias, &[self.n])?;
        }
        let types = product.operands.types();
        if let Some(sums) = sums {
            let fits = self.sums(types) && bias.is_none() && self.batch == 1;
            expect_setting("matmul", "sums", fits, "beside one gradient of a weight alone", f64::from(fits))?;
            expect("matmul", "sums", sums, &[self.m])?;
        }
        if self.takes(types) {
            return Ok(());
        }
        let name = |types: Types| types.map(Dtype::name).join(", ");
        let all = [SINGLE, LAYER, WEIGHT, ACTIVATIONS, WEIGHTED].map(name).join("; ");
        Err(Error::Shape {
            operation: "matmul",
            argument: "types",
            wanted: format!("of A, B and C: {all}"),
            got: format!("{} with {self:?}", name(types)),
        })
    }

    fn launch(&self, recorder: &mut Recorder, by: By, batch: usize, bound: &Bound) -> Result<()> {
        let Bound { types, a, b, bias, c, sums, apart } = bound;
        let a_columns = if self.transpose_a { self.m } else { self.k };
        let b_columns = if self.transpose_b { self.k } else { self.n };
        let beside = bias.iter().all(Run::aligned);
        let loads = Loads {
            a: a.aligned() && a_columns % 4 == 0,
            b: b.aligned() && b_columns % 4 == 0,
            c: c.aligned() && self.n.is_multiple_of(4) && beside,
            tail: !self.k.is_multiple_of(4),
        }
        .served();
        let [a, b] = &self.operands_bound(recorder.gpu(), by, batch, loads, bound);
        let word = |value: usize| value as u32;
        let mut params = vec![word(self.m), word(self.n), word(self.k)];
        for Run { first, stride, step, .. } in [a, b, c] {
            params.extend([first, stride, step].map(|value| word(*value)));
        }
        let vector = |run: &Option<Run>| run.as_ref().map_or([0; 2], |run| [run.first, run.step].map(word));
        params.push(u32::from(bias.is_some()));
        params.extend(vector(bias));
        params.extend(vector(sums));
        let into = match sums {
            None => Sums::None,
            Some(_) => {
                if *apart {
                    Sums::Apart
                } else {
                    Sums::Beside
                }
            }
        };
        let form = Form { types: *types, slices: 1, loads, sums: into };
        let workgroups =
            |[height, width]: [usize; 2]| [word(self.m.div_ceil(height)), word(self.n.div_ceil(width)), word(batch)];
        let (kernel, specialisation, workgroups, depth) = match by {
            By::Tile(tile) => {
                let tiles = recorder.gpu().tiles();
                let tile = tile.filling(tiles, self, batch);
                let workgroups = workgroups([tile.height(), tile.width()]);
                let slices = tile.slices(tiles, workgroups, self.k);
                let specialisation = self.specialisation(tiles, tile, Form { slices, ..form });
                (&MATMUL, specialisation, workgroups, tile.depth(slices))
            }
            By::Matrices(matrices) => {
                let specialisation = matrices.specialisation(self, form);
                (&MATMUL_COOPERATIVE, specialisation, workgroups([SIDE; 2]), matrices.depth())
            }
        };
        let sums = sums.as_ref().filter(|_| *apart).unwrap_or(c);
        recorder.launch_rounds(
            &Launch {
                kernel,
                specialisation,
                params: &params,
                tensors: &[&a.tensor, &b.tensor, &bias.as_ref().unwrap_or(&bound.b).tensor, &c.tensor, &sums.tensor],
                workgroups,
                cost: Self { batch, ..*self }.cost_of(*types),
            },
            self.k.div_ceil(depth),
        )
    }

    /// A and B as they are bound: of what is copied into a texture, no more than the products read.
    fn operands_bound(&self, gpu: &Gpu, by: By, batch: usize, loads: Loads, bound: &Bound) -> [Run; 2] {
        let textures = match by {
            By::Tile(tile) => loads.in_textures(gpu.tiles(), tile, bound.types),
            By::Matrices(_) => [false; 2],
        };
        let oriented =
            |[rows, columns]: [usize; 2], transposed| if transposed { [columns, rows] } else { [rows, columns] };
        let [a, b] = [oriented([self.m, self.k], self.transpose_a), oriented([self.k, self.n], self.transpose_b)];
        let of = |run: &Run, [rows, columns]: [usize; 2], copied| {
            if copied { run.narrowed([batch, rows, columns]) } else { run.clone() }
        };
        [of(&bound.a, a, textures[0]), of(&bound.b, b, textures[1])]
    }

    /// Each part but the first adds to what the one before has left; the bias comes with the first, the activation last.
    fn record_in_parts(&self, recorder: &mut Recorder, tile: Tile, product: &Summed<'_>) -> Result<()> {
        let Summed { operands: Operands { a, b, bias, c }, sums } = *product;
        let longest = longest(recorder.gpu(), &tile);
        for start in (0..self.k).step_by(longest) {
            let k = longest.min(self.k - start);
            let activation = if start + k == self.k { self.activation } else { Activation::None };
            let part = Self { k, activation, accumulate: self.accumulate || start > 0, ..*self };
            let from = |matrix: Matrix<'_>, along_rows: bool| start * if along_rows { matrix.stride } else { 1 };
            let (a, b) = (a.offset(from(a, self.transpose_a)), b.offset(from(b, !self.transpose_b)));
            let operands = Operands { a, b, bias: bias.filter(|_| start == 0), c };
            part.record_with(recorder, tile, &Summed { operands, sums })?;
        }
        Ok(())
    }
}

/// What a tensor of four bytes or of two holds for a shader.
fn float(tensor: &Tensor) -> Dtype {
    if tensor.dtype() == Dtype::F16 { Dtype::F16 } else { Dtype::F32 }
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    let mut all = Vec::new();
    for (tile, product) in forms::pairs(Tile::every(tiles), &Matmul::each()) {
        let types = [SINGLE, LAYER, WEIGHT, ACTIVATIONS, WEIGHTED].into_iter();
        for types in types.filter(|types| (tiles.f16 || *types == SINGLE) && product.takes(*types)) {
            for loads in Loads::every(product.transpose_a, product.transpose_b) {
                for slices in tile.each_slices(tiles) {
                    let form = |sums: &Sums| Form { types, slices, loads, sums: *sums };
                    let each = product.each_sums(types).iter();
                    all.extend(each.map(|sums| product.specialisation(tiles, tile, form(sums))));
                }
            }
        }
    }
    all
}
