//! Combines the scores of several views or networks.

/// Excludes all classes but the valid ones.
pub(super) fn restrict(scores: &mut [f64], valid: &[usize]) {
    let mut kept = valid.iter().peekable();
    for (index, score) in scores.iter_mut().enumerate() {
        if kept.peek() == Some(&&index) {
            kept.next();
        } else {
            *score = f64::NEG_INFINITY;
        }
    }
}

/// The logarithm of the mean of the probabilities that the rows of logits give. A single row is
/// returned unchanged.
///
/// # Panics
/// If there are no rows or they differ in length.
pub(super) fn average(rows: &[Vec<f64>]) -> Vec<f64> {
    if let [row] = rows {
        return row.clone();
    }
    let rows: Vec<Vec<f64>> = rows.iter().map(|row| log_softmax(row)).collect();
    let mean = |class: usize| {
        let column: Vec<f64> = rows.iter().map(|row| row[class]).collect();
        log_sum(&column) - (rows.len() as f64).ln()
    };
    (0..rows[0].len()).map(mean).collect()
}

/// The mean of each column.
///
/// # Panics
/// If there are no rows or they differ in length.
pub(super) fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let mean = |class: usize| rows.iter().map(|row| row[class]).sum::<f64>() / rows.len() as f64;
    (0..rows[0].len()).map(mean).collect()
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let sum = log_sum(row);
    row.iter().map(|score| score - sum).collect()
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
    fn other_classes_are_excluded() {
        let mut scores = vec![1.0, 2.0, 3.0, 4.0];
        restrict(&mut scores, &[0, 2]);
        assert_eq!(scores, [1.0, f64::NEG_INFINITY, 3.0, f64::NEG_INFINITY]);
        let mean = average(&[scores.clone(), scores]);
        assert_eq!(mean[1], f64::NEG_INFINITY);
        assert!((mean.iter().map(|x| x.exp()).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
