//! What a spec must satisfy before layers can be made from it.

use super::{BlockKind, ResnetRun, ResnetSpec, SePosition, StrideOn};
use crate::nets::NetError;

/// Far above any real network; keeps products in a hostile spec from overflowing.
const MAX_CHANNELS: usize = 1 << 16;
const MAX_BLOCKS: usize = 1000;
const MAX_RUNS: usize = 64;

impl ResnetSpec {
    /// Checks that the fields are consistent and that every layer can be built.
    ///
    /// # Errors
    /// [`NetError::Spec`] naming the first field that is wrong.
    pub(super) fn check(&self) -> Result<(), NetError> {
        if !(1..=MAX_RUNS).contains(&self.runs.len()) {
            let reason = format!("expected 1 to {MAX_RUNS} runs, found {}", self.runs.len());
            return Err(NetError::spec("network.runs", reason));
        }
        if !(self.eps > 0.0 && self.eps < 1.0) {
            let reason = format!("expected a number between 0 and 1, found {}", self.eps);
            return Err(NetError::spec("network.eps", reason));
        }
        if let Some(outputs) = self.head_conv {
            count("network.head_conv", outputs, MAX_CHANNELS)?;
        }
        self.check_stem()?;
        self.check_block()?;
        self.check_attention()?;
        let mut stage = 0;
        let mut inputs = self.stem.widths.last().copied().unwrap_or(0);
        for (index, run) in self.runs.iter().enumerate() {
            let named = |error| match error {
                NetError::Spec { field, reason } => {
                    NetError::spec(field, format!("run {}: {reason}", index + 1))
                }
                other => other,
            };
            self.check_run(run, stage, inputs).map_err(named)?;
            (stage, inputs) = (run.stage, run.channels);
        }
        Ok(())
    }

    fn check_stem(&self) -> Result<(), NetError> {
        let stem = &self.stem;
        count("network.stem.inputs", stem.inputs, MAX_CHANNELS)?;
        let convs = stem.widths.len();
        if !(1..=8).contains(&convs) {
            let reason = format!("expected one to eight entries, found {convs}");
            return Err(NetError::spec("network.stem.widths", reason));
        }
        if stem.strides.len() != convs {
            let reason = format!("expected {convs} entries, found {}", stem.strides.len());
            return Err(NetError::spec("network.stem.strides", reason));
        }
        for (&width, &stride) in stem.widths.iter().zip(&stem.strides) {
            count("network.stem.widths", width, MAX_CHANNELS)?;
            count("network.stem.strides", stride, 8)?;
        }
        if stem.kernel.is_multiple_of(2) || stem.kernel > 31 {
            let reason = format!("expected an odd size up to 31, found {}", stem.kernel);
            return Err(NetError::spec("network.stem.kernel", reason));
        }
        Ok(())
    }

    fn check_block(&self) -> Result<(), NetError> {
        if self.block == BlockKind::Basic && self.stride_on != StrideOn::Conv1 {
            let reason = "a basic block has its stride on conv1";
            return Err(NetError::spec("network.stride_on", reason));
        }
        Ok(())
    }

    fn check_attention(&self) -> Result<(), NetError> {
        let reduced = self.runs.iter().filter(|run| run.reduced.is_some()).count();
        match (&self.se, &self.sk) {
            (Some(_), Some(_)) => {
                let reason = "a network has `se` or `sk`, not both";
                Err(NetError::spec("network.se", reason))
            }
            (Some(_), None) if reduced == 0 => {
                let reason = "no run has `reduced`, the channels inside the module";
                Err(NetError::spec("network.se", reason))
            }
            (Some(se), None) => {
                if se.position == SePosition::BeforeLastConv && self.block == BlockKind::Basic {
                    let reason = "only a bottleneck has a narrow map before its last convolution";
                    return Err(NetError::spec("network.se.position", reason));
                }
                Ok(())
            }
            (None, Some(_)) if reduced < self.runs.len() => {
                let reason = "every run needs `reduced`, the channels inside the unit";
                Err(NetError::spec("network.sk", reason))
            }
            (None, Some(_)) => {
                if self.block == BlockKind::Bottleneck && self.stride_on != StrideOn::Conv2 {
                    let reason = "a selective-kernel bottleneck has its stride on conv2";
                    return Err(NetError::spec("network.stride_on", reason));
                }
                Ok(())
            }
            (None, None) if reduced > 0 => {
                let reason = "the channels inside a module, but there is no `se` and no `sk`";
                Err(NetError::spec("network.runs.reduced", reason))
            }
            (None, None) => Ok(()),
        }
    }

    /// `stage` and `inputs` are the stage and the channels before the run.
    fn check_run(&self, run: &ResnetRun, stage: usize, inputs: usize) -> Result<(), NetError> {
        let ResnetRun {
            width,
            channels,
            groups,
            ..
        } = *run;
        if run.stage != stage + 1 && (run.stage != stage || stage == 0) {
            let reason = format!("expected stage {}, found {}", stage + 1, run.stage);
            return Err(NetError::spec("network.runs.stage", reason));
        }
        count("network.runs.blocks", run.blocks, MAX_BLOCKS)?;
        count("network.runs.stride", run.stride, 2)?;
        count("network.runs.width", width, MAX_CHANNELS)?;
        count("network.runs.channels", channels, MAX_CHANNELS)?;
        count("network.runs.groups", groups, MAX_CHANNELS)?;
        if let Some(reduced) = run.reduced {
            count("network.runs.reduced", reduced, MAX_CHANNELS)?;
        }
        if let Some(width) = run.conv1_width {
            count("network.runs.conv1_width", width, MAX_CHANNELS)?;
            if self.block == BlockKind::Basic {
                let reason = "a basic block has one width, given by `width`";
                return Err(NetError::spec("network.runs.conv1_width", reason));
            }
        }
        self.check_groups(run, inputs)
    }

    /// The grouped convolution must divide evenly on both sides.
    fn check_groups(&self, run: &ResnetRun, before: usize) -> Result<(), NetError> {
        let mut inputs = match self.block {
            BlockKind::Bottleneck => vec![run.conv1_width.unwrap_or(run.width)],
            BlockKind::Basic => vec![before, run.channels],
        };
        if self.sk.as_ref().is_some_and(|sk| sk.split_input) {
            if let Some(odd) = inputs.iter().find(|&&channels| channels % 2 == 1) {
                let reason = format!("{odd} channels cannot be halved");
                return Err(NetError::spec("network.sk.split_input", reason));
            }
            inputs.iter_mut().for_each(|channels| *channels /= 2);
        }
        inputs.push(run.width);
        match inputs.iter().find(|&&channels| channels % run.groups != 0) {
            Some(uneven) => {
                let reason = format!("{uneven} channels do not divide into {} groups", run.groups);
                Err(NetError::spec("network.runs.groups", reason))
            }
            None => Ok(()),
        }
    }
}

/// `value` is between 1 and `most`.
fn count(field: &'static str, value: usize, most: usize) -> Result<(), NetError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let reason = format!("expected 1 to {most}, found {value}");
    Err(NetError::spec(field, reason))
}
