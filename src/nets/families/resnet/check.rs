//! What a spec must satisfy before layers can be made from it.

use super::{BlockKind, ResnetRun, ResnetSpec, SePosition, Shortcut, StrideOn};
use crate::nets::NetError;
use crate::nets::families::runs;
use crate::nets::families::shared::{MAX_BLOCKS, MAX_CHANNELS, check_eps, count};

impl ResnetRun {
    /// Checks each number by itself.
    ///
    /// # Errors
    /// [`NetError::Spec`] naming the first field that is wrong.
    pub(in crate::nets::families) fn check_counts(&self) -> Result<(), NetError> {
        count("network.runs.blocks", self.blocks, MAX_BLOCKS)?;
        count("network.runs.stride", self.stride, 2)?;
        count("network.runs.width", self.width, MAX_CHANNELS)?;
        count("network.runs.channels", self.channels, MAX_CHANNELS)?;
        count("network.runs.groups", self.groups, MAX_CHANNELS)?;
        match self.reduced {
            Some(reduced) => count("network.runs.reduced", reduced, MAX_CHANNELS),
            None => Ok(()),
        }
    }
}

impl ResnetSpec {
    /// Checks that the fields are consistent and that every layer can be built.
    ///
    /// # Errors
    /// [`NetError::Spec`] naming the first field that is wrong.
    pub(super) fn check(&self) -> Result<(), NetError> {
        check_eps(self.eps)?;
        if let Some(outputs) = self.head_conv {
            count("network.head_conv", outputs, MAX_CHANNELS)?;
        }
        if self.final_activation && !self.linear_end {
            let reason = "an activation already follows the last block's sum";
            return Err(NetError::spec("network.final_activation", reason));
        }
        if self.final_activation && self.head_conv.is_some() {
            let reason = "an activation already follows the last convolution";
            return Err(NetError::spec("network.final_activation", reason));
        }
        self.stem.check()?;
        self.check_block()?;
        self.check_attention()?;
        runs::check(&self.runs, self.stem.outputs(), |run, inputs| {
            self.check_run(run, inputs)
        })
    }

    fn check_block(&self) -> Result<(), NetError> {
        // A block without a sum has no place for what follows its last norm.
        if self.shortcut == Shortcut::None {
            if !self.linear_end {
                let reason = "blocks without a shortcut end linearly";
                return Err(NetError::spec("network.linear_end", reason));
            }
            if (self.se.as_ref()).is_some_and(|se| se.position == SePosition::AfterLastNorm) {
                let reason =
                    "blocks without a shortcut have the module before the last convolution";
                return Err(NetError::spec("network.se.position", reason));
            }
        }
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

    /// `inputs` are the channels before the run.
    fn check_run(&self, run: &ResnetRun, inputs: usize) -> Result<(), NetError> {
        run.check_counts()?;
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
