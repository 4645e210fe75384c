//! Turns classifier outputs into probabilities and top-k classes.

/// Probabilities of finite logits that add up to 1, in f64.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|&logit| (f64::from(logit) - f64::from(highest)).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The probability of one logit, independent of the others.
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Indices of the `k` highest values, highest first; of equal values, the lower index comes first.
pub fn top_k<T: Copy + Into<f64>>(values: &[T], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let value = |index: usize| -> f64 { values[index].into() };
    let higher = |&a: &usize, &b: &usize| value(b).total_cmp(&value(a)).then(a.cmp(&b));
    let k = k.min(order.len());
    if k > 0 && k < order.len() {
        order.select_nth_unstable_by(k - 1, higher);
    }
    order.truncate(k);
    order.sort_unstable_by(higher);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_k_is_ordered_and_breaks_ties_by_index() {
        let values = [0.5_f32, 2.0, -1.0, 2.0, 0.5];
        assert!(top_k(&values, 0).is_empty());
        assert_eq!(top_k(&values, 3), [1, 3, 0]);
        assert_eq!(top_k(&values, 99), [1, 3, 0, 4, 2]);
        assert_eq!(top_k(&values.map(f64::from), 3), [1, 3, 0]);
    }

    #[test]
    fn softmax_survives_large_logits() {
        let found = softmax(&[1e30, 1e30, -1e30]);
        assert_eq!(found, [0.5, 0.5, 0.0]);
        assert!((softmax(&[1.0, 2.0])[1] - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
    }
}
