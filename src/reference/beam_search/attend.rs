//! Coverage: Wu et al. (2016), section 7, equation 14.

/// The penalty on source positions that had less than one step's worth of attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attend {
    /// Beta.
    pub coverage_penalty: f64,
}

/// What no attention at all counts as, so that the penalty stays a number.
const LEAST: f64 = 1e-10;

impl Attend {
    /// The penalty of a hypothesis, from each step's weights over its source; members of an ensemble are averaged before.
    pub fn penalty(&self, steps: &[Vec<f64>]) -> f64 {
        let positions = steps.first().map_or(0, Vec::len);
        let coverage = |position: usize| steps.iter().map(|weights| weights[position]).sum::<f64>();
        self.coverage_penalty * (0..positions).map(|position| coverage(position).clamp(LEAST, 1.0).ln()).sum::<f64>()
    }

    /// The position of the greatest weight, of equal ones the first.
    pub fn position(weights: &[f64]) -> usize {
        (1..weights.len()).fold(0, |best, at| if weights[at] > weights[best] { at } else { best })
    }
}
