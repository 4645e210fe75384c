//! Runs of equal blocks, which every family of blocks has: from their numbers to blocks with names and inputs.

use crate::nets::NetError;
use crate::nets::names::{Names, SeNames};
use crate::nets::plan::{Activation, BlockPlan, SePlan};

const MAX_RUNS: usize = 64;

/// What the runs of every family have.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    /// From 1.
    pub(super) stage: usize,
    pub(super) blocks: usize,
    /// Of the first block; the others keep the resolution.
    pub(super) stride: usize,
    /// Output channels of the blocks.
    pub(super) channels: usize,
}

/// Equal blocks in a row.
pub(super) trait Run {
    fn numbers(&self) -> Numbers;
}

/// A block's run, input channels, stride and name.
pub(super) struct Place<'a, R> {
    pub(super) run: &'a R,
    pub(super) inputs: usize,
    pub(super) stride: usize,
    /// Prefix of the block's tensors.
    pub(super) name: String,
}

impl<R> Place<'_, R> {
    pub(super) fn below(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// A module on a map of so many channels.
    pub(super) fn se(
        &self,
        names: SeNames<'_>,
        [channels, reduced]: [usize; 2],
        [hidden, gate]: [Activation; 2],
    ) -> SePlan {
        let name = self.below(names.module);
        SePlan {
            reduce: format!("{name}.{}", names.reduce),
            expand: format!("{name}.{}", names.expand),
            name,
            channels,
            reduced,
            hidden,
            gate,
        }
    }
}

/// The blocks of each stage, of which `block` makes the plans, for a map of `channels`, and the channels after
/// them.
pub(super) fn stages<R: Run>(
    runs: &[R],
    names: &Names,
    mut channels: usize,
    block: impl Fn(Place<'_, R>) -> Result<BlockPlan, NetError>,
) -> Result<(Vec<Vec<BlockPlan>>, usize), NetError> {
    let mut stages: Vec<Vec<BlockPlan>> = Vec::new();
    let mut number = 0;
    for run in runs {
        let numbers = run.numbers();
        stages.resize_with(numbers.stage, Vec::new);
        let stage = &mut stages[numbers.stage - 1];
        for index in 0..numbers.blocks {
            stage.push(block(Place {
                run,
                inputs: channels,
                stride: if index == 0 { numbers.stride } else { 1 },
                name: names.block(numbers.stage - 1, stage.len(), number),
            })?);
            number += 1;
            channels = numbers.channels;
        }
    }
    Ok((stages, channels))
}

/// Checks that the stages follow each other, and each run with `check`, which gets the channels before it; those
/// before the first are `inputs`.
pub(super) fn check<R: Run>(
    runs: &[R],
    mut inputs: usize,
    check: impl Fn(&R, usize) -> Result<(), NetError>,
) -> Result<(), NetError> {
    if !(1..=MAX_RUNS).contains(&runs.len()) {
        let reason = format!("expected 1 to {MAX_RUNS} runs, found {}", runs.len());
        return Err(NetError::spec("network.runs", reason));
    }
    let mut before = 0;
    for (index, run) in runs.iter().enumerate() {
        let Numbers {
            stage: found,
            channels,
            ..
        } = run.numbers();
        let follows = if found == before + 1 || (found == before && before > 0) {
            Ok(())
        } else {
            let reason = format!("expected stage {}, found {found}", before + 1);
            Err(NetError::spec("network.runs.stage", reason))
        };
        let checked = follows.and_then(|()| check(run, inputs));
        checked.map_err(|error| match error {
            NetError::Spec { field, reason } => {
                NetError::spec(field, format!("run {}: {reason}", index + 1))
            }
            other => other,
        })?;
        (before, inputs) = (found, channels);
    }
    Ok(())
}

/// Joins runs that follow each other and look alike to people, such as those that differ in the module alone:
/// numbers of blocks, and what the runs have in common.
pub(super) fn alike<T: PartialEq>(runs: impl Iterator<Item = (usize, T)>) -> Vec<(usize, T)> {
    let mut joined: Vec<(usize, T)> = Vec::new();
    for (blocks, row) in runs {
        match joined.last_mut() {
            Some((count, last)) if *last == row => *count += blocks,
            _ => joined.push((blocks, row)),
        }
    }
    joined
}
