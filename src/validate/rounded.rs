//! Expected errors of rounding: the reference's own equations, on numbers that carry the variance of their error.

use std::{
    iter::Sum,
    ops::{Add, AddAssign, Div, Mul, Neg, Sub},
};

use crate::reference::Real;

/// Half the distance between 1 and the next f32.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// A result may err by so many standard deviations. Errors that share a cause add up faster than independent ones do: that of a
/// state reaches the next one through three gates and past them, and of 5,000 cases of the decoder one errs by 7 deviations.
const DEVIATIONS: f64 = 10.0;

/// A number, and the variance of the error that it has where every operation rounds to f32: to first order, all errors
/// independent, as in Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis" (2019), section 2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rounded {
    value: f64,
    variance: f64,
}

impl Rounded {
    /// `value` as the result of an operation that errs by `units`, from operands whose errors come to `variance` in it.
    fn new(value: f64, units: f64, variance: f64) -> Self {
        Self { value, variance: variance + (units * UNIT * value).powi(2) }
    }
}

/// The scale of a tensor for which its expected errors are `tolerance`.
pub(super) fn scale(values: &[Rounded], tolerance: f64) -> f64 {
    let variance = values.iter().fold(0.0_f64, |most, value| most.max(value.variance));
    DEVIATIONS * variance.sqrt() / tolerance
}

/// Exact numbers.
pub(super) fn exact(values: &[f32]) -> Vec<Rounded> {
    values.iter().map(|value| f64::from(*value).into()).collect()
}

/// The numbers alone.
pub(super) fn values(values: &[Rounded]) -> Vec<f64> {
    values.iter().map(|value| value.value).collect()
}

impl From<f64> for Rounded {
    fn from(value: f64) -> Self {
        Self { value, variance: 0.0 }
    }
}

impl Neg for Rounded {
    type Output = Self;

    fn neg(self) -> Self {
        Self { value: -self.value, ..self }
    }
}

impl Add for Rounded {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // Nothing is lost where one of them is 0, as at the start of a sum.
        let units = if self.value == 0.0 || other.value == 0.0 { 0.0 } else { 1.0 };
        Self::new(self.value + other.value, units, self.variance + other.variance)
    }
}

impl Sub for Rounded {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Rounded {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let variance = self.value.powi(2) * other.variance + other.value.powi(2) * self.variance;
        Self::new(self.value * other.value, 1.0, variance)
    }
}

impl Div for Rounded {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self::new(value, 1.0, (self.variance + value.powi(2) * other.variance) / other.value.powi(2))
    }
}

impl AddAssign for Rounded {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Rounded {
    fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
        values.fold(0.0.into(), Add::add)
    }
}

impl Real for Rounded {
    fn value(self) -> f64 {
        self.value
    }

    /// Drivers take a power of 2: rounding its exponent is an error of the result that grows with the exponent.
    fn exp(self) -> Self {
        let value = self.value.exp();
        Self::new(value, 1.0 + self.value.abs(), value.powi(2) * self.variance)
    }

    /// The kernels' own errs by up to 6 units where its argument is small.
    fn tanh(self) -> Self {
        let value = self.value.tanh();
        Self::new(value, 3.0, (1.0 - value * value).powi(2) * self.variance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The deviation of a number in units of f32.
    fn units(x: Rounded) -> f64 {
        x.variance.sqrt() / UNIT
    }

    #[test]
    fn cancellation_leaves_the_error_of_what_cancelled() {
        let saturated = Rounded::from(1.0) / (Rounded::from(1.0) + Rounded::from(-12.0).exp());
        let rest = Rounded::from(1.0) - saturated;
        assert!(rest.value < 1e-5 && (1.0..2.0).contains(&units(rest)), "{rest:?}");
        assert!(scale(&[rest], 1e-6) > 0.3, "a difference from 1 is judged as what it is a difference of");
    }

    #[test]
    fn a_sum_errs_with_the_square_root_of_its_length() {
        let third = Rounded::new(1.0 / 3.0, 1.0, 0.0);
        let sum: Rounded = (0..300).map(|_| third).sum();
        let relative = units(sum) / sum.value;
        // Each partial sum rounds, and those are half as large as the whole on average: sqrt(300 / 3).
        assert!((9.0..11.0).contains(&relative), "{relative}");
        let nothing: Rounded = [Rounded::from(0.0), Rounded::from(0.3), Rounded::from(0.0)].into_iter().sum();
        assert!(nothing.variance == 0.0, "nothing was rounded");
    }
}
