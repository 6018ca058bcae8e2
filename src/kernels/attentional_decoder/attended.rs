//! A step behind the products of its state: the attention with the state before as the query, and the gates that read the context;
//! one dispatch forward and, of a teacher-forced step, one backward.

use super::AttentionalDecoder;
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Specialisation, Tensor, Tiles},
    kernels::{additive_attention::keys_of_one_query, forms, gru::Masking, library::shader, rounds::expect_rounds},
};

pub(in crate::kernels) static ATTENTIONAL_DECODER: Shader = shader!("attentional_decoder", forwards);
pub(in crate::kernels) static ATTENTIONAL_DECODER_BACKWARD: Shader = shader!("attentional_decoder_backward", backwards);

/// What steps read and leave, and their backward reads again; shapes as in [`super::Outputs`], or in [`super::StepMemory`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Attended<'a> {
    /// `[B, T, 3H]`, what the words contribute to the gates.
    pub gi: &'a Tensor,
    /// `[B, S, A]`
    pub key: &'a Tensor,
    /// `[B, S, 3H]`
    pub contributions: &'a Tensor,
    /// `[3H + A]`: the recurrent biases, then the energy vector.
    pub vectors: &'a Tensor,
    /// `[B]`, u32.
    pub lengths: &'a Tensor,
    /// `[T, B, 4H + A]`
    pub gates: &'a Tensor,
    /// The states before each step and after the last.
    pub states: &'a Tensor,
    /// `[B, T, S]`
    pub weights: &'a Tensor,
    pub masking: Option<Masking>,
}

/// Where a step finds and leaves what is its own, by first elements and strides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub gi: [usize; 2],
    /// The first element of the gates.
    pub gates: usize,
    /// Those of the states before and after.
    pub states: [usize; 2],
    pub weights: [usize; 2],
    /// The rows of a sentence and the columns of the layer above, of a step by itself.
    pub apart: Option<[usize; 2]>,
}

/// What the backward of a step reads and leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttendedBackward<'a> {
    /// `[B, S, 3H]`
    pub contributions: &'a Tensor,
    /// `[B, S, A]`
    pub key: &'a Tensor,
    /// `[A]`
    pub energy: &'a Tensor,
    /// `[B, T, S]`
    pub weights: &'a Tensor,
    /// `[B, T, 3H]`
    pub d_gi: &'a Tensor,
    /// `[T, B, 4H + A]`
    pub gates: &'a Tensor,
    /// `[B, T, S]`: the gradients that the weights have besides, then those of the scores.
    pub d_score: &'a Tensor,
    /// `[T, B, 3H + A]`, whose last A columns are written.
    pub d_recurrent: &'a Tensor,
}

/// A workgroup, which takes one row of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Workgroup {
    subgroups: bool,
    lanes: u32,
    /// Keys that are scored together.
    keys: u32,
    /// Whether keys and contributions are read from textures, where a load brings several.
    textures: bool,
}

/// The sizes of a workgroup that is no subgroup.
const LANES: [u32; 4] = [32, 64, 128, 256];
/// Its keys.
const KEYS: u32 = 4;

impl Workgroup {
    /// On a GPU a lane for every four of the columns that a loop goes through, where one reaches.
    fn of(tiles: &Tiles, decoder: &AttentionalDecoder, columns: usize) -> Self {
        let fours = columns.div_ceil(4);
        match tiles.subgroup {
            Some(lanes) => Self::of_subgroup(tiles, lanes, keys_of_one_query(decoder.keys)),
            None => {
                let lanes = LANES.into_iter().find(|lanes| *lanes as usize >= fours).unwrap_or(LANES[3]);
                Self { subgroups: false, lanes, keys: KEYS, textures: false }
            }
        }
    }

    fn every(tiles: &Tiles) -> Vec<Self> {
        match tiles.subgroup {
            Some(lanes) => forms::distinct([4, 6, 8].map(|keys| Self::of_subgroup(tiles, lanes, keys))),
            None => LANES.map(|lanes| Self { subgroups: false, lanes, keys: KEYS, textures: false }).to_vec(),
        }
    }

    fn of_subgroup(tiles: &Tiles, lanes: u32, keys: u32) -> Self {
        Self { subgroups: true, lanes, keys: keys.min(lanes), textures: tiles.textures }
    }

    /// Rounds of a loop over keys and columns.
    fn rounds(self, keys: usize, columns: usize, piece: usize) -> usize {
        keys.div_ceil(self.keys as usize) * columns.div_ceil(piece.max(4) * self.lanes as usize)
    }

    /// `piece` elements a load.
    fn form(self, piece: usize, dtype: Dtype) -> Specialisation {
        let textures = self.textures && piece > 1 && dtype == Dtype::F32;
        Specialisation::new()
            .element(dtype)
            .define("ONE_ROW")
            .define_if(self.subgroups, "SUBGROUPS")
            .define_if(piece > 1, "VECTOR")
            .define_if(piece > 4, "WIDE")
            .textures(&[(textures, "TEXTURE_key"), (textures, "TEXTURE_contributions")])
            .constant("LANES", self.lanes)
            .constant("KEYS", self.keys)
    }

    fn forward(self, piece: usize, dropout: bool, dtype: Dtype) -> Specialisation {
        self.form(piece, dtype).define_if(dropout, "DROPOUT")
    }

    /// That of a step by itself, which is f32.
    fn step(self, piece: usize) -> Specialisation {
        self.form(piece, Dtype::F32).define("STEP")
    }
}

/// How many elements one load may bring: 64-bit words hold f32 alone.
fn pieces(tiles: &Tiles, dtype: Dtype) -> &'static [usize] {
    if forms::words(tiles, dtype) { &[8, 4, 1] } else { &[4, 1] }
}

/// A form for each workgroup, piece and type.
fn every(tiles: &Tiles, form: impl Fn(Workgroup, usize, Dtype) -> Vec<Specialisation>) -> Vec<Specialisation> {
    let of = |dtype| {
        let of_workgroup =
            |workgroup| pieces(tiles, dtype).iter().map(|piece| form(workgroup, *piece, dtype)).collect::<Vec<_>>();
        Workgroup::every(tiles).into_iter().map(of_workgroup).collect::<Vec<_>>().concat().concat()
    };
    forms::each_element(tiles, of).concat()
}

fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    every(tiles, |workgroup, piece, dtype| {
        let looped = forms::either(|dropout| workgroup.forward(piece, dropout, dtype));
        let step = (dtype == Dtype::F32).then(|| workgroup.step(piece));
        looped.into_iter().chain(step).collect()
    })
}

fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    every(tiles, |workgroup, piece, dtype| vec![workgroup.form(piece, dtype)])
}

impl AttentionalDecoder {
    /// How many elements one load of these kernels brings: all that they load begins and ends at a multiple of it.
    fn piece(&self, tiles: &Tiles, dtype: Dtype) -> usize {
        let fits = |piece: &&usize| self.size.is_multiple_of(**piece) && self.hidden.is_multiple_of(**piece);
        pieces(tiles, dtype).iter().find(fits).copied().unwrap_or(1)
    }

    /// A workgroup for `loops` over keys and so many columns, and its piece, if the driver goes through the rounds of these loops;
    /// checked modules keep all of them.
    fn workgroup(&self, gpu: &Gpu, dtype: Dtype, (loops, columns): (usize, usize)) -> Result<(Workgroup, usize)> {
        let workgroup = Workgroup::of(gpu.tiles(), self, columns);
        let (lanes, at_once) = (workgroup.lanes as usize, workgroup.keys as usize);
        let fours = columns.div_ceil(4 * lanes);
        let groups = self.keys.div_ceil(at_once) * (fours + 1);
        let inner = if gpu.checked() { 4 * at_once + 2 * lanes.ilog2() as usize } else { 4 };
        let what = || format!("a step of {} over {} keys", super::NAME, self.keys);
        // Without subgroups each sum over the lanes is a loop of its own.
        let sums = if workgroup.subgroups { 0 } else { self.keys.div_ceil(at_once) * (lanes / at_once) };
        let need = loops * groups * inner + sums + 3 * self.keys.div_ceil(lanes.min(at_once));
        expect_rounds(gpu, need, what, "Use shorter sequences, kernels without checks, or a GPU.")?;
        Ok((workgroup, self.piece(gpu.tiles(), dtype)))
    }

    /// The same for a step forward with so many columns of a layer above.
    pub(super) fn workgroup_of_step(&self, gpu: &Gpu, dtype: Dtype, top: usize) -> Result<(Workgroup, usize)> {
        let columns = self.size.max(self.hidden).max(top);
        self.workgroup(gpu, dtype, (if top > 0 { 3 } else { 2 }, columns))
    }

    /// Operations and bytes of [`AttentionalDecoder::record_attended`], less those of a layer above.
    pub(super) fn cost_attended(&self, dtype: Dtype) -> Cost {
        let [b, s, a, h] = [self.batch, self.keys, self.size, self.hidden].map(|extent| extent as f64);
        let bytes = dtype.bytes() as f64;
        Cost {
            operations: b * (s * (5.0 * a + 6.0 * h) + 40.0 * h),
            transcendental: b * (s * (1.5 * a + 2.0) + 5.0 * h),
            read: bytes * b * (s * (a + 3.0 * h) + 7.0 * h + a),
            written: bytes * b * 5.0 * h + ELEMENT as f64 * b * s,
        }
    }

    fn cost_attended_backward(&self, dtype: Dtype) -> Cost {
        let [b, s, a, h] = [self.batch, self.keys, self.size, self.hidden].map(|extent| extent as f64);
        let (bytes, scores) = (dtype.bytes() as f64, ELEMENT as f64 * b * s);
        Cost {
            operations: b * s * (6.0 * h + 8.0 * a),
            transcendental: b * s * 1.5 * a,
            read: bytes * b * (s * (a + 3.0 * h) + 3.0 * h + a) + 2.0 * scores,
            written: bytes * b * a + scores,
        }
    }

    /// Records step `t`, whose gates hold the products of the state before. The caller has checked all shapes.
    pub(super) fn record_attended(&self, recorder: &mut Recorder, attended: &Attended<'_>, t: usize) -> Result<()> {
        let Self { batch, steps, keys, hidden, .. } = *self;
        let (state, gates) = (batch * hidden, 3 * hidden);
        let place = Place {
            gi: [t * gates, steps * gates],
            gates: t * batch * self.gates_width(),
            states: [t * state, (t + 1) * state],
            weights: [t * keys, steps * keys],
            apart: None,
        };
        self.record_attended_at(recorder, attended, &place)
    }

    /// The same for a step at any place, whose rows are those of the batch.
    pub(super) fn record_attended_at(
        &self,
        recorder: &mut Recorder,
        attended: &Attended<'_>,
        place: &Place,
    ) -> Result<()> {
        let Self { batch, keys, size, hidden, .. } = *self;
        let Attended { gi, key, contributions, vectors, lengths, gates, states, weights, masking } = *attended;
        let dtype = states.dtype().activation();
        let [beam, top] = place.apart.unwrap_or([1, 0]);
        let (workgroup, piece) = self.workgroup_of_step(recorder.gpu(), dtype, top)?;
        let dropped = masking.map_or([0, 0], |masking| [masking.mask, place.states[1] + masking.distance]);
        let params =
            [&[keys, size, hidden, beam, top][..], &place.gi, &[place.gates], &place.states, &place.weights, &dropped];
        let (of_words, of_keys, bytes) = ((batch * top) as f64, (batch * keys * top) as f64, dtype.bytes() as f64);
        let mut cost = self.cost_attended(dtype);
        let read = bytes * (of_words + of_keys);
        cost += Cost { operations: 2.0 * of_keys, read, written: bytes * of_words, ..Cost::default() };
        recorder.launch_rounds(
            &Launch {
                kernel: &ATTENTIONAL_DECODER,
                specialisation: match place.apart {
                    None => workgroup.forward(piece, masking.is_some(), dtype),
                    Some(_) => workgroup.step(piece),
                },
                params: &params.concat().iter().map(|value| *value as u32).collect::<Vec<_>>(),
                tensors: &[gi, key, contributions, vectors, lengths, gates, states, weights],
                workgroups: [batch as u32, 1, 1],
                cost,
            },
            [size, hidden, top].map(|columns| workgroup.rounds(keys, columns, piece)).iter().sum(),
        )
    }

    /// Records the backward of step `t` behind the gradients of its gates. The caller has checked all shapes.
    pub(super) fn record_attended_backward(
        &self,
        recorder: &mut Recorder,
        attended: &AttendedBackward<'_>,
        t: usize,
    ) -> Result<()> {
        let Self { batch, steps, keys, size, hidden, .. } = *self;
        let AttendedBackward { contributions, key, energy, weights, d_gi, gates, d_score, d_recurrent } = *attended;
        let dtype = gates.dtype().activation();
        let (workgroup, piece) = self.workgroup(recorder.gpu(), dtype, (2, size.max(3 * hidden)))?;
        let (width, products) = (self.gates_width(), self.products());
        let params = [
            vec![keys, size, hidden],
            vec![t * keys, steps * keys],
            vec![t * 3 * hidden, steps * 3 * hidden],
            vec![t * batch * width + 4 * hidden, width],
            vec![t * batch * products + 3 * hidden, products],
        ];
        recorder.launch_rounds(
            &Launch {
                kernel: &ATTENTIONAL_DECODER_BACKWARD,
                specialisation: workgroup.form(piece, dtype),
                params: &params.concat().iter().map(|value| *value as u32).collect::<Vec<_>>(),
                tensors: &[contributions, key, energy, weights, d_gi, gates, d_score, d_recurrent],
                workgroups: [batch as u32, 1, 1],
                cost: self.cost_attended_backward(dtype),
            },
            workgroup.rounds(keys, 3 * hidden, piece) + workgroup.rounds(keys, size, piece),
        )
    }
}
