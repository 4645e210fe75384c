//! Groups of vectors that pairs join, and which pairs of a group are listed.

use std::collections::HashMap;

use serde::Serialize;

/// Two vectors that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Index of the one.
    pub first: usize,
    /// Index of the other, which is larger.
    pub second: usize,
    /// Cosine of the angle between them.
    pub similarity: f64,
}

/// Vectors of which each is alike to another one of the group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Their indices, at least two, in rising order.
    pub members: Vec<usize>,
    /// Pairs, the most alike first: all of them, or, where there are more than
    /// [`DuplicateOptions::most_pairs`](super::DuplicateOptions::most_pairs), that many, or one less than the
    /// members if that is more. They always join all members.
    pub pairs: Vec<Pair>,
    /// Number of pairs, listed or not.
    pub pair_count: u64,
}

/// Disjoint sets of numbers, with the number of pairs that joined each.
#[derive(Debug)]
pub(super) struct Groups {
    parents: Vec<u32>,
    sizes: Vec<u32>,
    /// For each root the pairs that were found, and how many of them are listed.
    found: Vec<u64>,
    listed: Vec<u64>,
    most: u64,
}

impl Groups {
    /// `count` sets of one number each, at most `u32::MAX`. Of a set, `most` pairs are listed, and whatever
    /// else it takes to join its members.
    pub(super) fn new(count: usize, most: usize) -> Self {
        Self {
            parents: (0..count as u32).collect(),
            sizes: vec![1; count],
            found: vec![0; count],
            listed: vec![0; count],
            most: most as u64,
        }
    }

    /// The number that stands for the set of this one.
    fn root(&self, mut number: usize) -> usize {
        // Sets are joined by size, so a path has at most 32 steps.
        while self.parents[number] as usize != number {
            number = self.parents[number] as usize;
        }
        number
    }

    /// Whether two numbers are in one set of which no further pairs are listed: their pair only counts.
    pub(super) fn is_known(&self, [a, b]: [usize; 2]) -> bool {
        let root = self.root(a);
        self.listed[root] >= self.most && root == self.root(b)
    }

    /// Counts pairs of a number's set that are not listed.
    pub(super) fn count(&mut self, number: usize, pairs: u64) {
        let root = self.root(number);
        self.found[root] += pairs;
    }

    /// Joins the sets of two numbers; returns whether their pair is to be listed.
    pub(super) fn join(&mut self, [a, b]: [usize; 2]) -> bool {
        if self.is_known([a, b]) {
            self.count(a, 1);
            return false;
        }
        let (a, b) = (self.root(a), self.root(b));
        let (large, small) = match self.sizes[a] < self.sizes[b] {
            true => (b, a),
            false => (a, b),
        };
        if large != small {
            self.parents[small] = large as u32;
            self.sizes[large] += self.sizes[small];
            self.found[large] += self.found[small];
            self.listed[large] += self.listed[small];
        }
        self.found[large] += 1;
        self.listed[large] += 1;
        true
    }

    /// The sets of more than one number, by their first ones, with the pairs that are listed.
    pub(super) fn finish(self, pairs: Vec<Pair>) -> Vec<Group> {
        let mut groups = Vec::<Group>::new();
        let mut places = HashMap::new();
        for number in 0..self.parents.len() {
            let root = self.root(number);
            if self.sizes[root] < 2 {
                continue;
            }
            let place = *places.entry(root).or_insert_with(|| {
                groups.push(Group {
                    members: Vec::new(),
                    pairs: Vec::new(),
                    pair_count: self.found[root],
                });
                groups.len() - 1
            });
            groups[place].members.push(number);
        }
        for pair in pairs {
            groups[places[&self.root(pair.first)]].pairs.push(pair);
        }
        // Groups that were joined late may list more than they should.
        let mut joined = Self::new(self.parents.len(), 0);
        for group in &mut groups {
            group.pairs.sort_by(|a, b| {
                let alike = b.similarity.total_cmp(&a.similarity);
                alike.then((a.first, a.second).cmp(&(b.first, b.second)))
            });
            let most = (self.most as usize).max(group.members.len() - 1);
            if group.pairs.len() > most {
                let mut others = most - (group.members.len() - 1);
                group.pairs.retain(|pair| {
                    if joined.join([pair.first, pair.second]) {
                        return true;
                    }
                    let fits = others > 0;
                    others -= usize::from(fits);
                    fits
                });
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(first: usize, second: usize, similarity: f64) -> Pair {
        Pair {
            first,
            second,
            similarity,
        }
    }

    #[test]
    fn a_full_group_lists_only_what_joins_it() {
        let mut groups = Groups::new(8, 2);
        assert!(groups.join([0, 1]) && groups.join([1, 2]));
        assert!(groups.is_known([0, 2]) && !groups.is_known([0, 3]));
        assert!(!groups.join([0, 2]));
        assert!(groups.join([5, 6]));
        assert!(groups.join([6, 0]));
        groups.count(5, 10);
        let listed = vec![
            pair(0, 1, 0.9),
            pair(1, 2, 1.0),
            pair(5, 6, 0.9),
            pair(0, 6, 0.9),
        ];
        let group = Group {
            members: vec![0, 1, 2, 5, 6],
            pairs: vec![listed[1], listed[0], listed[3], listed[2]],
            pair_count: 15,
        };
        assert_eq!(groups.finish(listed), [group]);
    }

    #[test]
    fn of_joined_groups_the_most_alike_pairs_are_listed() {
        let mut groups = Groups::new(4, 4);
        // All pairs of four, of which the first ones are found in two groups.
        let found = [
            pair(0, 1, 0.91),
            pair(2, 3, 0.92),
            pair(0, 2, 0.93),
            pair(1, 2, 0.94),
            pair(0, 3, 0.95),
        ];
        let listed = found.map(|pair| groups.join([pair.first, pair.second]));
        assert_eq!(listed, [true, true, true, true, false]);
        groups.most = 3;
        let groups = groups.finish(found[..4].to_vec());
        assert_eq!(groups[0].pairs, [found[3], found[2], found[1]]);
        assert_eq!(groups[0].pair_count, 5);
    }
}
