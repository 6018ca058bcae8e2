//! Rows brought to one size: Ba, Kiros and Hinton, "Layer Normalization" (2016), section 3; Zhang and Sennrich, "Root Mean Square
//! Layer Normalization" (2019), section 4.

use super::expect_shape;

/// How a row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// By its mean and its variance around it.
    Layer,
    /// By its mean square.
    Rms,
}

/// `y[r, c] = (x[r, c] - mean[r]) / sqrt(variance[r] + epsilon) * gain[c] + bias[c]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Independent rows.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
    /// How a row is measured.
    pub norm: Norm,
    /// Added to the variance.
    pub epsilon: f64,
}

/// Gradients of [`LayerNorm`].
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormGradients {
    /// `[rows, columns]`
    pub x: Vec<f64>,
    /// `[columns]`
    pub gain: Vec<f64>,
    /// `[columns]`
    pub bias: Vec<f64>,
}

impl LayerNorm {
    /// The mean of a row (0 under [`Norm::Rms`]), and `1 / sqrt(variance + epsilon)`.
    pub fn statistics(&self, x: &[f64]) -> (f64, f64) {
        let of_columns = self.columns as f64;
        let mean = match self.norm {
            Norm::Layer => x.iter().sum::<f64>() / of_columns,
            Norm::Rms => 0.0,
        };
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / of_columns;
        (mean, 1.0 / (variance + self.epsilon).sqrt())
    }

    /// A row less its mean and over its deviation, and `1 / deviation`.
    fn normalised(&self, x: &[f64]) -> (Vec<f64>, f64) {
        let (mean, scale) = self.statistics(x);
        (x.iter().map(|x| (x - mean) * scale).collect(), scale)
    }

    /// y `[rows, columns]` from x of the same shape, gain `[columns]` and, if there is one, bias `[columns]`.
    pub fn forward(&self, x: &[f64], gain: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
        expect_shape("x", x, &[self.rows, self.columns]);
        expect_shape("gain", gain, &[self.columns]);
        bias.inspect(|bias| expect_shape("bias", bias, &[self.columns]));
        let mut y = Vec::with_capacity(x.len());
        for row in x.chunks(self.columns) {
            let (normalised, _) = self.normalised(row);
            for c in 0..self.columns {
                y.push(normalised[c] * gain[c] + bias.map_or(0.0, |bias| bias[c]));
            }
        }
        y
    }

    /// The gradients from d_y `[rows, columns]`.
    pub fn backward(&self, x: &[f64], gain: &[f64], d_y: &[f64]) -> LayerNormGradients {
        expect_shape("x", x, &[self.rows, self.columns]);
        expect_shape("gain", gain, &[self.columns]);
        expect_shape("d_y", d_y, &[self.rows, self.columns]);
        let of_columns = self.columns as f64;
        let (mut d_x, mut d_gain, mut d_bias) = (vec![], vec![0.0; self.columns], vec![0.0; self.columns]);
        for (row, d_y) in x.chunks(self.columns).zip(d_y.chunks(self.columns)) {
            let (normalised, scale) = self.normalised(row);
            let d: Vec<f64> = d_y.iter().zip(gain).map(|(d_y, gain)| d_y * gain).collect();
            let shift = match self.norm {
                Norm::Layer => d.iter().sum::<f64>() / of_columns,
                Norm::Rms => 0.0,
            };
            let slope = super::dot(&d, &normalised) / of_columns;
            for c in 0..self.columns {
                d_x.push(scale * (d[c] - shift - normalised[c] * slope));
                d_gain[c] += d_y[c] * normalised[c];
                d_bias[c] += d_y[c];
            }
        }
        LayerNormGradients { x: d_x, gain: d_gain, bias: d_bias }
    }
}
