//! Turns classifier outputs into probabilities and top-k classes, and averages those of several networks.

/// Probabilities of finite logits that add up to 1, in f64.
pub fn softmax<T: Copy + Into<f64>>(logits: &[T]) -> Vec<f64> {
    let logits = logits.iter().map(|&logit| logit.into());
    let highest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.map(|logit: f64| (logit - highest).exp()).collect();
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

/// Logits whose softmax is the mean of the probabilities that the rows of logits give: the logarithm of
/// that mean. A single row is returned unchanged.
///
/// # Panics
/// If there are no rows or they differ in length.
pub(crate) fn average(rows: &[Vec<f64>]) -> Vec<f64> {
    if let [row] = rows {
        return row.clone();
    }
    let rows: Vec<Vec<f64>> = rows.iter().map(|row| log_softmax(row)).collect();
    let count = (rows.len() as f64).ln();
    columns(&rows, |column| log_sum(column) - count)
}

/// Logits whose sigmoid is the mean of the probabilities that the rows of logits give. A single row is
/// returned unchanged.
///
/// # Panics
/// If there are no rows or they differ in length.
pub(crate) fn average_sigmoid(rows: &[Vec<f64>]) -> Vec<f64> {
    if let [row] = rows {
        return row.clone();
    }
    // The logarithm of the mean's odds. Neither probability rounds to 0, however large the logits.
    let log_mean = |column: &[f64], sign: f64| {
        let logs: Vec<f64> = column.iter().map(|x| log_sigmoid(sign * x)).collect();
        log_sum(&logs)
    };
    columns(rows, |column| {
        log_mean(column, 1.0) - log_mean(column, -1.0)
    })
}

/// The mean of each column.
///
/// # Panics
/// If there are no rows or they differ in length.
pub(crate) fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    columns(rows, |column| {
        column.iter().sum::<f64>() / column.len() as f64
    })
}

fn columns(rows: &[Vec<f64>], combine: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let combine = |class: usize| {
        let column: Vec<f64> = rows.iter().map(|row| row[class]).collect();
        combine(&column)
    };
    (0..rows[0].len()).map(combine).collect()
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let sum = log_sum(row);
    row.iter().map(|score| score - sum).collect()
}

fn log_sigmoid(logit: f64) -> f64 {
    logit.min(0.0) - (-logit.abs()).exp().ln_1p()
}

/// The logarithm of the sum of exponentials, without underflow.
fn log_sum(values: &[f64]) -> f64 {
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if highest == f64::NEG_INFINITY {
        return highest;
    }
    let sum: f64 = values.iter().map(|value| (value - highest).exp()).sum();
    highest + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_averaged_and_not_logits() {
        let rows = [vec![0.0, 3.0_f64.ln()], vec![9.0, 9.0]];
        let mean = average(&rows);
        assert!((mean[0].exp() - 0.375).abs() < 1e-12);
        assert!((mean[1].exp() - 0.625).abs() < 1e-12);
        // Too improbable for an f64, and still ranked.
        let mean = average(&[vec![0.0, -1e4, -2e4], vec![0.0, -1e4, -2e4]]);
        assert!(mean[1] > mean[2] && mean[2].is_finite(), "{mean:?}");
    }

    #[test]
    fn independent_probabilities_are_averaged() {
        let rows = [vec![-1.5, 0.0, 900.0, -900.0], vec![4.0, 0.0, 40.0, 900.0]];
        let scores = average_sigmoid(&rows);
        for (class, &score) in scores.iter().enumerate() {
            let mean = (sigmoid(rows[0][class]) + sigmoid(rows[1][class])) / 2.0;
            assert!((sigmoid(score) - mean).abs() < 1e-15, "{class}: {score}");
            assert!(score.is_finite());
        }
        assert_eq!(scores[3], 0.0);
        // 1 - (e^-900 + e^-40) / 2, which no f64 holds.
        assert!((scores[2] - 40.0 - 2.0_f64.ln()).abs() < 1e-9);
        assert_eq!(average_sigmoid(&rows[..1]), rows[0]);
    }

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
