//! Adam: Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), algorithm 1, with epsilon where PyTorch has
//! it, and with decoupled weight decay: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2; the
//! gradient is first clipped by its global norm: Pascanu et al., "On the difficulty of training recurrent neural networks"
//! (2013), algorithm 1.

use super::reduction::sum_of_squares;

/// What becomes of the loss scale, and of the finite steps since it changed, after a step. Micikevicius et al., "Mixed Precision
/// Training" (2018), section 3.2, choose it so and leave the numbers open; these are those of NVIDIA's and PyTorch's practice.
pub fn next_scaling([scale, steps]: [f64; 2], finite: bool) -> [f64; 2] {
    match (finite, steps + 1.0 >= 2000.0) {
        (false, _) => [(scale / 2.0).max(1.0), 0.0],
        (true, true) => [(scale * 2.0).min(16_777_216.0), 0.0],
        (true, false) => [scale, steps + 1.0],
    }
}

/// The optimiser's settings; its state, two moments per parameter, belongs to the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the corrected second moment.
    pub epsilon: f64,
    /// The norm that a gradient is scaled down to, if any.
    pub clip_norm: Option<f64>,
    /// What a parameter loses of itself in a step, as a share of the learning rate.
    pub weight_decay: f64,
}

impl Adam {
    /// Makes one step and returns the global norm of the gradients before clipping. All slices have the same length;
    /// `step` counts from 1, since it corrects the bias of moments that start at zero.
    ///
    /// Where the norm is not finite, nothing is changed: one overflow must not destroy the parameters.
    pub fn update(
        &self,
        step: u32,
        parameters: &mut [f64],
        gradients: &[f64],
        first: &mut [f64],
        second: &mut [f64],
    ) -> f64 {
        assert!(step > 0, "steps count from 1");
        let len = parameters.len();
        assert_eq!(
            [gradients.len(), first.len(), second.len()],
            [len; 3],
            "one gradient and two moments per parameter"
        );
        let norm = sum_of_squares(gradients).sqrt();
        if !norm.is_finite() {
            return norm;
        }
        // The 1e-6 is PyTorch's, against division by zero.
        let coefficient = self.clip_norm.map_or(1.0, |clip| (clip / (norm + 1e-6)).min(1.0));
        let correction1 = 1.0 - self.beta1.powf(f64::from(step));
        let correction2 = 1.0 - self.beta2.powf(f64::from(step));
        for i in 0..len {
            let gradient = coefficient * gradients[i];
            first[i] = self.beta1 * first[i] + (1.0 - self.beta1) * gradient;
            second[i] = self.beta2 * second[i] + (1.0 - self.beta2) * gradient * gradient;
            let root = (second[i] / correction2).sqrt() + self.epsilon;
            parameters[i] *= 1.0 - self.learning_rate * self.weight_decay;
            parameters[i] -= self.learning_rate * first[i] / correction1 / root;
        }
        norm
    }
}

/// What an exponential moving average of the parameters is after step `step` (from 1): Kingma and Ba (2015), section 7.2, but
/// started from the first parameters, and with a decay of at most `step / (step + 9)`, as TensorFlow's `ExponentialMovingAverage`
/// and Marian have it.
pub fn average(decay: f64, step: u32, average: &mut [f64], parameters: &[f64]) {
    assert_eq!(average.len(), parameters.len(), "an average for each parameter");
    let decay = decay.min(f64::from(step) / (f64::from(step) + 9.0));
    for (average, parameter) in average.iter_mut().zip(parameters) {
        *average = decay * *average + (1.0 - decay) * parameter;
    }
}
