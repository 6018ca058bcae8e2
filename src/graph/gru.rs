//! Gated recurrent layers: [`crate::kernels::gru`] as nodes.

use super::{Context, Graph, Operation, Value};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder, Shape, Tensor},
    kernels::gru::{Gradients, Gru, Inputs, Outputs, Saved, Tile, Weights},
};

/// The parameters of one direction of a GRU layer, gates in the order r, z, n.
#[derive(Clone, Copy, Debug)]
pub struct GruWeights {
    /// `[3H, I]`
    pub weight_ih: Value,
    /// `[3H, H]`
    pub weight_hh: Value,
    /// `[3H]`
    pub bias_ih: Value,
    /// `[3H]`
    pub bias_hh: Value,
}

impl GruWeights {
    pub(super) fn values(&self) -> [Value; 4] {
        [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
    }
}

/// Inputs: x, h0, lengths, then four weights per direction. Outputs: y, hn, states, gates, scratch.
#[derive(Debug)]
struct Forward(Gru);

/// Inputs: x, h0, lengths, states, gates, d_y, d_hn, then four weights per direction.
/// Outputs: d_x, d_h0, then four weight gradients per direction, then four of scratch.
#[derive(Debug)]
struct Backward(Gru);

impl Graph {
    /// One GRU layer over a sequence (Cho et al. 2014, in the form of cuDNN and PyTorch: reset applied after the recurrent
    /// product) in one or two directions: `x` `[B, S, I]`, `h0` `[D, B, H]`, `lengths` `[B]`. Returns the states `[B, S, D·H]`, 0
    /// past a row's length, and the last state of each direction `[D, B, H]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn gru(&mut self, x: Value, h0: Value, lengths: Value, weights: &[GruWeights]) -> Result<(Value, Value)> {
        const NAME: &str = "gru";
        let [batch, steps, input] = self.expect(NAME, "x", x, Dtype::F32, [None; 3])?;
        let directions = weights.len();
        if !(1..=2).contains(&directions) {
            return Err(Error::Shape {
                operation: NAME,
                argument: "weights",
                wanted: "those of one or two directions".into(),
                got: format!("those of {directions}"),
            });
        }
        let [_, _, hidden] = self.expect(NAME, "h0", h0, Dtype::F32, [Some(directions), Some(batch), None])?;
        self.expect(NAME, "lengths", lengths, Dtype::U32, [Some(batch)])?;
        let mut inputs = vec![x, h0, lengths];
        for weights in weights {
            self.expect_cell(NAME, weights, input, hidden)?;
            inputs.extend(weights.values());
        }
        let gru = Gru { batch, steps, input, hidden, directions };
        let shapes: [Shape; 5] = [
            [batch, steps, directions * hidden].into(),
            [directions, batch, hidden].into(),
            gru.states_shape().into(),
            gru.gates_shape().into(),
            [gru.scratch()].into(),
        ];
        let outputs = self.push(Forward(gru), &inputs, shapes);
        Ok((outputs[0], outputs[1]))
    }

    /// Checks the parameters of a GRU cell.
    pub(super) fn expect_cell(
        &self,
        operation: &'static str,
        weights: &GruWeights,
        input: usize,
        hidden: usize,
    ) -> Result<()> {
        let gates = Some(3 * hidden);
        self.expect(operation, "weight_ih", weights.weight_ih, Dtype::F32, [gates, Some(input)])?;
        self.expect(operation, "weight_hh", weights.weight_hh, Dtype::F32, [gates, Some(hidden)])?;
        self.expect(operation, "bias_ih", weights.bias_ih, Dtype::F32, [gates])?;
        self.expect(operation, "bias_hh", weights.bias_hh, Dtype::F32, [gates]).map(|_| ())
    }
}

/// Groups of four tensors as weights.
pub(super) fn weights(tensors: &[Tensor]) -> Vec<Weights<'_>> {
    let (groups, _) = tensors.as_chunks::<4>();
    groups
        .iter()
        .map(|[weight_ih, weight_hh, bias_ih, bias_hh]| Weights { weight_ih, weight_hh, bias_ih, bias_hh })
        .collect()
}

impl Operation for Forward {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [x, h0, lengths, rest @ ..] = context.inputs else { unreachable!("three inputs and weights are pushed") };
        let [y, hn, states, gates, scratch] = context.outputs else { unreachable!("five outputs are pushed") };
        let tile = Tile::choose(recorder.gpu(), self.0.batch);
        let inputs = Inputs { x, h0, lengths, weights: &weights(rest) };
        self.0.record(recorder, tile, &inputs, &Outputs { y, hn }, &Saved { states, gates }, scratch)
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let mut upstream_or_zero =
            |index: usize| upstream[index].unwrap_or_else(|| graph.filled(graph.shape(outputs[index]).clone(), 0.0));
        let (d_y, d_hn) = (upstream_or_zero(0), upstream_or_zero(1));
        let [x, h0, lengths, weights @ ..] = inputs else { unreachable!("three inputs and weights are pushed") };
        let mut from = vec![*x, *h0, *lengths, outputs[2], outputs[3], d_y, d_hn];
        from.extend(weights);
        let mut shapes = vec![graph.shape(*x).clone(), graph.shape(*h0).clone()];
        shapes.extend(weights.iter().map(|weight| graph.shape(*weight).clone()));
        shapes.extend(self.0.backward_scratch().map(|elements| Shape::from([elements])));
        let gradients = graph.push(Backward(self.0), &from, shapes);
        let mut result = vec![Some(gradients[0]), Some(gradients[1]), None];
        result.extend(gradients[2..2 + weights.len()].iter().copied().map(Some));
        Ok(result)
    }
}

impl Operation for Backward {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [x, h0, lengths, states, gates, d_y, d_hn, rest @ ..] = context.inputs else {
            unreachable!("seven inputs and weights are pushed")
        };
        let [d_x, d_h0, d_weights @ .., a, b, c, d] = context.outputs else {
            unreachable!("gradients and scratch are pushed")
        };
        let tile = Tile::choose(recorder.gpu(), self.0.batch);
        let inputs = Inputs { x, h0, lengths, weights: &weights(rest) };
        let gradients = Gradients { y: d_y, hn: d_hn, x: d_x, h0: d_h0, weights: &weights(d_weights) };
        self.0.record_backward(recorder, tile, &inputs, &Saved { states, gates }, [a, b, c, d], &gradients)
    }
}
