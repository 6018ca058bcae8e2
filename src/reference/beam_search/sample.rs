//! Sampling with a temperature, the likeliest k (Fan et al. 2018, section 5.1) and the nucleus (Holtzman et al. 2020, section
//! 3.1). A draw is the largest of logit plus Gumbel noise (Maddison et al. 2014, section 2).

use super::{ABSENT, FIRST_CHOICE};
use crate::random::random_bits;

/// softmax(logits / temperature), cut to the `top_k` likeliest, and then to the fewest that hold `top_p` of what is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Over 0.
    pub temperature: f64,
    /// 0: no cut.
    pub top_k: usize,
    /// Over 0, up to 1: no cut.
    pub top_p: f64,
}

/// The noise on a token: `-log(-log(1 - v))`, v from 23 random bits.
pub fn gumbel(stream: u32, step: u32, sample: u32, token: u32) -> f64 {
    let v = (f64::from(random_bits(stream, step, sample, token) >> 9) + 0.5) / 8_388_608.0;
    -(-(-v).ln_1p()).ln()
}

impl Sample {
    /// The tokens that may be drawn, with their probabilities before any cut: the likeliest first, as many as the cuts
    /// leave, those as likely as the last included. Blocked ones are never among them.
    pub fn kept(&self, logits: &[f64]) -> Vec<(u32, f64)> {
        let open = (FIRST_CHOICE..).zip(&logits[FIRST_CHOICE as usize..]).filter(|(_, logit)| **logit >= ABSENT);
        let mut tokens: Vec<(u32, f64)> = open.map(|(token, logit)| (token, logit / self.temperature)).collect();
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
        let largest = tokens.first().map_or(0.0, |first| first.1);
        tokens.iter_mut().for_each(|(_, x)| *x = (*x - largest).exp());
        let total: f64 = tokens.iter().map(|(_, mass)| mass).sum();
        tokens.iter_mut().for_each(|(_, mass)| *mass /= total);
        if self.top_k > 0 {
            keep(&mut tokens, self.top_k);
        }
        let mass: f64 = tokens.iter().map(|(_, mass)| mass).sum();
        let (mut sum, mut count) = (0.0, 0);
        while sum < self.top_p * mass && count < tokens.len() {
            sum += tokens[count].1;
            count += 1;
        }
        keep(&mut tokens, count);
        tokens
    }

    /// The worth of drawing each token, for a stream of noise: the largest is drawn.
    pub fn worths(&self, logits: &[f64], stream: u32, step: u32, sample: u32) -> Vec<(u32, f64)> {
        let worth = |token: u32| logits[token as usize] / self.temperature + gumbel(stream, step, sample, token);
        self.kept(logits).into_iter().map(|(token, _)| (token, worth(token))).collect()
    }
}

/// The first `count`, and those that equal the last of them.
fn keep(tokens: &mut Vec<(u32, f64)>, count: usize) {
    if let Some(last) = count.checked_sub(1).and_then(|last| tokens.get(last)).map(|last| last.1) {
        tokens.retain(|(_, mass)| *mass >= last);
    }
}
