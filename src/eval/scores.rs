//! Scores of a model that may answer with some of its classes only.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logits::average;

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
