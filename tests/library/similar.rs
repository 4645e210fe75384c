//! Neighbours and near-duplicates against plain loops in f64.

use std::ops::ControlFlow;

use senet::similar::{
    DuplicateOptions, Group, Matrix, Neighbor, Pair, SimilarError, Vectors, duplicates,
    duplicates_between, nearest,
};

/// Pseudorandom values in -1..1.
fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Vectors around so many centres, of very different lengths, with some that are 0 or equal.
fn clustered(count: usize, width: usize, centers: usize, seed: u64) -> Vec<f32> {
    let center = random(centers * width, seed);
    let noise = random(count * width, seed + 1);
    let mut values = Vec::new();
    for (index, noise) in noise.chunks(width).enumerate() {
        let center = &center[index * 7 % centers * width..][..width];
        let share = (index * 13 % 10) as f32 / 12.0;
        let scale = [1.0, 1e-25, 1e25, 3.0, 0.01][index % 5];
        let from = values.len();
        values.extend(
            center
                .iter()
                .zip(noise)
                .map(|(c, n)| scale * (c + share * n)),
        );
        if index % 17 == 11 {
            values[from..].fill(0.0);
        } else if index % 9 == 8 {
            values.copy_within(from - 8 * width..from - 7 * width, from);
        }
    }
    values
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        products.sum()
    };
    let squares = dot(a, a) * dot(b, b);
    if squares == 0.0 {
        0.0
    } else {
        (dot(a, b) / squares.sqrt()).clamp(-1.0, 1.0)
    }
}

/// Runs with so many threads.
fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

fn go_on(_: senet::similar::Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn neighbors_are_those_of_a_plain_loop() {
    for (count, width, queries, k) in [
        (1, 1, 1, 3),
        (40, 3, 2, 40),
        (300, 64, 5, 7),
        (1000, 33, 1, 10),
        (70, 2048, 9, 1),
    ] {
        let values = clustered(count, width, 6, 5);
        let asked = clustered(queries, width, 6, 5);
        let (vectors, asked) = (Matrix::new(&values, width), Matrix::new(&asked, width));
        let found = with_threads(1, || nearest(&vectors, &asked, k)).unwrap();
        for threads in [2, 5] {
            let again = with_threads(threads, || nearest(&vectors, &asked, k)).unwrap();
            assert_eq!(again, found);
        }
        for (query, found) in found.iter().enumerate() {
            let query = asked.rows(query..query + 1);
            let rows = values.chunks(width);
            let mut expected: Vec<(usize, f64)> =
                rows.map(|row| cosine(row, &query)).enumerate().collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            assert_eq!(found.len(), k.min(count));
            for (found, (_, similarity)) in found.iter().zip(&expected) {
                assert!((found.similarity - similarity).abs() < 1e-14);
                let own = cosine(&values[found.index * width..][..width], &query);
                assert!((found.similarity - own).abs() < 1e-14);
            }
            let order = |n: &Neighbor| (-n.similarity, n.index);
            assert!(found.is_sorted_by(|a, b| order(a) < order(b)));
        }
    }
}

#[test]
fn equal_vectors_are_neighbors_by_index() {
    let values = random(50, 1).repeat(4000);
    let vectors = Matrix::new(&values, 50);
    let asked = vectors.rows(17..18).into_owned();
    let found = nearest(&vectors, &Matrix::new(&asked, 50), 3).unwrap();
    let expected = [0, 1, 2].map(|index| Neighbor {
        index,
        similarity: 1.0,
    });
    assert_eq!(found[0], expected);
}

/// All pairs, in order, of which `wanted` says so.
fn pairs(
    values: &[f32],
    width: usize,
    threshold: f64,
    wanted: fn(usize, usize) -> bool,
) -> Vec<Pair> {
    let rows: Vec<&[f32]> = values.chunks(width).collect();
    let mut pairs = Vec::new();
    for (second, b) in rows.iter().enumerate() {
        for (first, a) in rows[..second].iter().enumerate() {
            let similarity = cosine(a, b);
            if wanted(first, second) && similarity >= threshold {
                pairs.push(Pair {
                    first,
                    second,
                    similarity,
                });
            }
        }
    }
    pairs
}

/// Checks groups with the pairs of a plain loop, of which each group lists `most` or all.
fn check(groups: &[Group], pairs: &[Pair], count: usize, most: usize) {
    // The smallest index that can be reached from each.
    let mut names: Vec<usize> = (0..count).collect();
    loop {
        let before = names.clone();
        for pair in pairs {
            let name = names[pair.first].min(names[pair.second]);
            (names[pair.first], names[pair.second]) = (name, name);
        }
        if names == before {
            break;
        }
    }
    let mut left = groups.iter();
    for name in 0..count {
        let members: Vec<usize> = (0..count).filter(|&at| names[at] == name).collect();
        if members.len() < 2 {
            continue;
        }
        let group = left.next().unwrap();
        assert_eq!(group.members, members);
        let own: Vec<&Pair> = pairs
            .iter()
            .filter(|pair| names[pair.first] == name)
            .collect();
        assert_eq!(group.pair_count, own.len() as u64);
        assert!(group.pairs.len() >= most.min(own.len()));
        assert!(group.pairs.len() <= most.max(members.len() - 1));
        for member in members {
            let mut partners = group.pairs.iter();
            assert!(partners.any(|pair| pair.first == member || pair.second == member));
        }
        assert!(
            group
                .pairs
                .is_sorted_by(|a, b| a.similarity >= b.similarity)
        );
        for pair in &group.pairs {
            let same = own
                .iter()
                .find(|own| (own.first, own.second) == (pair.first, pair.second));
            assert!((same.unwrap().similarity - pair.similarity).abs() < 1e-11);
        }
    }
    assert_eq!(left.next(), None);
}

#[test]
fn duplicates_are_those_of_a_plain_loop() {
    for (count, width, centers) in [
        (2, 1, 1),
        (5, 3, 2),
        (90, 16, 4),
        (700, 20, 9),
        (1100, 8, 400),
        // More than one packed block.
        (36, 1 << 18, 12),
    ] {
        let values = clustered(count, width, centers, 3);
        let vectors = Matrix::new(&values, width);
        for (threshold, most_pairs) in [(0.97, 1000), (0.9, 0), (1.0 - 1e-9, 3), (0.5, 20)] {
            if width > 1000 && most_pairs != 1000 {
                continue;
            }
            let options = DuplicateOptions {
                threshold,
                most_pairs,
                wanted: None,
            };
            let find = || duplicates(&vectors, &options, &mut go_on).unwrap();
            let groups = with_threads(1, find);
            assert_eq!(groups, with_threads(3, find));
            let expected = pairs(&values, width, threshold, |_, _| true);
            check(&groups, &expected, count, most_pairs);
        }
    }
}

#[test]
fn only_wanted_pairs_count() {
    let (count, width) = (300, 12);
    let values = clustered(count, width, 5, 8);
    let wanted = |a: usize, b: usize| a % 3 != b % 3;
    let options = DuplicateOptions {
        threshold: 0.95,
        most_pairs: 10,
        wanted: Some(&wanted),
    };
    let groups = duplicates(&Matrix::new(&values, width), &options, &mut go_on).unwrap();
    assert!(!groups.is_empty());
    let expected = pairs(&values, width, 0.95, |a, b| a % 3 != b % 3);
    check(&groups, &expected, count, 10);
}

#[test]
fn new_vectors_are_compared_with_the_old_alone() {
    const OLD: usize = 130;
    let (count, width) = (400, 24);
    let values = clustered(count, width, 7, 2);
    let expected = pairs(&values, width, 0.9, |a, b| (a < OLD) != (b < OLD));
    let options = DuplicateOptions {
        threshold: 0.9,
        ..DuplicateOptions::default()
    };
    let (old, new) = values.split_at(OLD * width);
    let (old, new) = (Matrix::new(old, width), Matrix::new(new, width));
    let groups = duplicates_between(&new, &old, &options, &mut go_on).unwrap();
    assert!(!groups.is_empty());
    check(&groups, &expected, count, 1000);
}

#[test]
fn many_equal_vectors_list_few_pairs() {
    let values = random(16, 4).repeat(3000);
    let options = DuplicateOptions {
        threshold: 1.0,
        most_pairs: 50,
        wanted: None,
    };
    let groups = duplicates(&Matrix::new(&values, 16), &options, &mut go_on).unwrap();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].members.len(), 3000);
    assert_eq!(groups[0].pair_count, 3000 * 2999 / 2);
    assert!(groups[0].pairs.len() < 3050);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let mut values = random(40, 6);
    values[21] = f32::NAN;
    let vectors = Matrix::new(&values, 4);
    let not_finite = Err(SimilarError::NotFinite { index: 5 });
    let query = Matrix::new(&[1.0, 2.0, 3.0, 4.0], 4);
    assert_eq!(nearest(&vectors, &query, 3), not_finite.clone());
    let options = DuplicateOptions::default();
    assert_eq!(
        duplicates(&vectors, &options, &mut go_on),
        Err(SimilarError::NotFinite { index: 5 })
    );
    let good = random(40, 6);
    let good = Matrix::new(&good, 4);
    assert_eq!(
        duplicates_between(&vectors, &good, &options, &mut go_on),
        Err(SimilarError::NotFinite { index: 15 })
    );
    let other = Matrix::new(&[1.0, 2.0], 2);
    let width = SimilarError::Width {
        expected: 4,
        found: 2,
    };
    assert_eq!(nearest(&good, &other, 3), Err(width.clone()));
    assert_eq!(
        duplicates_between(&other, &good, &options, &mut go_on),
        Err(width)
    );
    let stopped = duplicates(&good, &options, &mut |_| ControlFlow::Break(()));
    assert_eq!(stopped, Err(SimilarError::Stopped));
}

#[test]
fn nothing_has_no_neighbors() {
    let none = Matrix::new(&[], 4);
    let query = Matrix::new(&[1.0, 2.0, 3.0, 4.0], 4);
    assert_eq!(nearest(&none, &query, 3), Ok(vec![Vec::new()]));
    assert_eq!(nearest(&query, &none, 3), Ok(Vec::new()));
    let options = DuplicateOptions::default();
    assert_eq!(duplicates(&none, &options, &mut go_on), Ok(Vec::new()));
    assert_eq!(duplicates(&query, &options, &mut go_on), Ok(Vec::new()));
    assert_eq!(
        duplicates_between(&none, &query, &options, &mut go_on),
        Ok(Vec::new())
    );
}

/// The vectors of `tests/tools/make_similar.py`.
fn of_faiss(count: usize, width: usize) -> Vec<f32> {
    let value = |row: i64, column: i64| {
        let center = (row % 40 * 31 + column * 17 + row % 40 * column * 7) % 101 - 50;
        let noise = (row * 57 + column * 29 + row * column * 13) % 41 - 20;
        (center + noise) as f32
    };
    let places = (0..count as i64).flat_map(|row| (0..width as i64).map(move |c| (row, c)));
    places.map(|(row, column)| value(row, column)).collect()
}

#[test]
fn faiss_finds_the_same() {
    const WIDTH: usize = 48;
    #[derive(serde::Deserialize)]
    struct Expected {
        neighbors: Vec<Vec<(usize, f64)>>,
        pairs: Vec<(usize, usize, f64)>,
    }
    let text = include_str!("../data/similar.json");
    let expected: Expected = serde_json::from_str(text).unwrap();
    let values = of_faiss(600, WIDTH);
    let vectors = Matrix::new(&values, WIDTH);
    let queries = Matrix::new(&values[..expected.neighbors.len() * WIDTH], WIDTH);
    let found = nearest(&vectors, &queries, 10).unwrap();
    for (found, expected) in found.iter().zip(&expected.neighbors) {
        assert_eq!(found.len(), expected.len());
        for (found, (index, similarity)) in found.iter().zip(expected) {
            assert_eq!(found.index, *index);
            assert!((found.similarity - similarity).abs() < 2e-6);
        }
    }
    let options = DuplicateOptions {
        threshold: 0.9,
        ..DuplicateOptions::default()
    };
    let groups = duplicates(&vectors, &options, &mut go_on).unwrap();
    let mut pairs: Vec<&Pair> = groups.iter().flat_map(|group| &group.pairs).collect();
    pairs.sort_by_key(|pair| (pair.first, pair.second));
    assert_eq!(pairs.len(), expected.pairs.len());
    for (pair, (first, second, similarity)) in pairs.iter().zip(expected.pairs) {
        assert_eq!((pair.first, pair.second), (first, second));
        assert!((pair.similarity - similarity).abs() < 2e-6);
    }
}
