//! Microkernels that compute nothing of use: how fast an adapter can compute, read and copy. What `softalign bench` compares
//! the other kernels with.

use super::{
    expect::{expect, expect_setting},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static CEILING_ARITHMETIC: Shader = shader!("ceiling/arithmetic", arithmetics);
pub(super) static CEILING_MEMORY: Shader = shader!("ceiling/memory", memories);

/// Chains of an invocation. On lavapipe 12 scalars reach 181 GFLOP/s, 16 118 and 64 152: the others spill.
pub const CHAINS: usize = 12;

/// Steps of a chain in one round of the loop.
pub const STEPS: usize = 8;

/// What a chain is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `x * scale + shift`, fused.
    MultiplyAdd,
    /// `1 / (x + shift)`
    Reciprocal,
    /// `exp(-x)`
    Exponential,
    /// `tanh(x + shift)`, the crate's own.
    Tanh,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 4] = [Self::MultiplyAdd, Self::Reciprocal, Self::Exponential, Self::Tanh];

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::MultiplyAdd => "multiply-add",
            Self::Reciprocal => "reciprocal",
            Self::Exponential => "exponential",
            Self::Tanh => "tanh",
        }
    }

    fn define(self) -> &'static str {
        match self {
            Self::MultiplyAdd => "MULTIPLY_ADD",
            Self::Reciprocal => "RECIPROCAL",
            Self::Exponential => "EXPONENTIAL",
            Self::Tanh => "TANH",
        }
    }

    /// Scale and shift of every chain; each chain comes to rest.
    pub const SCALE: f32 = 0.75;
    /// As above.
    pub const SHIFT: f32 = 0.5;

    /// The step on the CPU.
    pub fn reference(self, x: f64) -> f64 {
        let (scale, shift) = (f64::from(Self::SCALE), f64::from(Self::SHIFT));
        match self {
            Self::MultiplyAdd => x * scale + shift,
            Self::Reciprocal => 1.0 / (x + shift),
            Self::Exponential => (-x).exp(),
            Self::Tanh => (x + shift).tanh(),
        }
    }
}

/// Chains of one kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// What is computed.
    pub step: Step,
    /// Rounds of [`STEPS`] steps each; at most 4,000, as a driver on the CPU goes through no more.
    pub rounds: usize,
    /// Workgroups, each of as many invocations as [`Tiles::workgroup`] says.
    pub workgroups: usize,
}

impl Arithmetic {
    /// Steps of all chains of all invocations.
    pub fn steps(&self, tiles: &Tiles) -> f64 {
        (self.workgroups * tiles.workgroup as usize * CHAINS * STEPS * self.rounds) as f64
    }

    /// Records y `[invocations]`, or as many of them as it has room for.
    ///
    /// # Errors
    /// What [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, y: &Tensor) -> Result<()> {
        let tiles = *recorder.gpu().tiles();
        let steps = self.steps(&tiles);
        let (operations, transcendental) = match self.step {
            Step::MultiplyAdd => (2.0, 0.0),
            Step::Reciprocal => (1.0, 1.0),
            Step::Exponential => (0.0, 1.0),
            Step::Tanh => (20.0, 1.0),
        };
        recorder.launch(&Launch {
            kernel: &CEILING_ARITHMETIC,
            specialisation: arithmetic(&tiles, self.step),
            params: &[self.rounds.min(4_000) as u32, Step::SCALE.to_bits(), Step::SHIFT.to_bits()],
            tensors: &[y],
            workgroups: [self.workgroups as u32, 1, 1],
            cost: Cost {
                operations: operations * steps,
                transcendental: transcendental * steps,
                read: 0.0,
                written: y.bytes() as f64,
            },
        })
    }
}

/// Reads x once, or copies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// vec4s of x.
    pub vectors: usize,
    /// vec4s of an invocation, one of [`Memory::EACH`]; `vectors` is a multiple of it.
    pub each: usize,
    /// Whether x is written to y; else only the sums over each invocation's vec4s are.
    pub copy: bool,
}

impl Memory {
    /// What [`Memory::each`] may be. Which is fastest differs from driver to driver.
    pub const EACH: [usize; 3] = [1, 4, 16];

    /// Operations and bytes.
    pub fn cost(&self) -> Cost {
        let bytes = self.vectors as f64 * 4.0 * ELEMENT as f64;
        let written = if self.copy { bytes } else { bytes / self.each as f64 };
        Cost { operations: 0.0, transcendental: 0.0, read: bytes, written }
    }

    /// Records y, `[vectors, 4]` of a copy, else `[vectors / each, 4]`, from x `[vectors, 4]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements, and what [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, x: &Tensor, y: &Tensor) -> Result<()> {
        let each = Self::EACH.contains(&self.each);
        expect_setting("ceiling", "each", each, "1, 4 or 16 vec4s", self.each as f64)?;
        let invocations = self.vectors / self.each;
        expect("ceiling", "x", x, &[invocations, self.each, 4])?;
        expect("ceiling", "y", y, &[if self.copy { self.vectors } else { invocations }, 4])?;
        let tiles = *recorder.gpu().tiles();
        recorder.launch(&Launch {
            kernel: &CEILING_MEMORY,
            specialisation: memory(&tiles, self.each, self.copy),
            params: &[invocations as u32],
            tensors: &[x, y],
            workgroups: grid(invocations.div_ceil(tiles.workgroup as usize)),
            cost: self.cost(),
        })
    }
}

fn arithmetic(tiles: &Tiles, step: Step) -> Specialisation {
    forms::workgroup(tiles).define(step.define())
}

fn memory(tiles: &Tiles, each: usize, copy: bool) -> Specialisation {
    forms::workgroup(tiles).define_if(copy, "COPY").constant("EACH", each as u32)
}

fn arithmetics(tiles: &Tiles) -> Vec<Specialisation> {
    Step::ALL.map(|step| arithmetic(tiles, step)).to_vec()
}

fn memories(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|copy| Memory::EACH.map(|each| memory(tiles, each, copy)).to_vec()).concat()
}
