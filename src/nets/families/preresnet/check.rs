//! What a spec must satisfy before layers can be made from it.

use super::PreresnetSpec;
use crate::nets::NetError;
use crate::nets::families::resnet::{BlockKind, ResnetRun, SePosition, StrideOn};
use crate::nets::families::runs;
use crate::nets::families::shared::check_eps;

impl PreresnetSpec {
    /// Checks that the fields are consistent and that every layer can be built.
    ///
    /// # Errors
    /// [`NetError::Spec`] naming the first field that is wrong.
    pub(super) fn check(&self) -> Result<(), NetError> {
        check_eps(self.eps)?;
        self.stem.check()?;
        self.check_block()?;
        runs::check(&self.runs, self.stem.outputs(), |run, inputs| {
            self.check_run(run, inputs)
        })
    }

    fn check_block(&self) -> Result<(), NetError> {
        let allowed = match self.block {
            BlockKind::Basic => self.stride_on == StrideOn::Conv1,
            BlockKind::Bottleneck => self.stride_on != StrideOn::AvgAfterConv2,
        };
        if !allowed {
            let reason = "expected conv1, or conv2 of a bottleneck";
            return Err(NetError::spec("network.stride_on", reason));
        }
        let reduced = self.runs.iter().any(|run| run.reduced.is_some());
        match &self.se {
            Some(_) if !reduced => {
                let reason = "no run has `reduced`, the channels inside the module";
                Err(NetError::spec("network.se", reason))
            }
            None if reduced => {
                let reason = "the channels inside a module, but there is no `se`";
                Err(NetError::spec("network.runs.reduced", reason))
            }
            Some(se) if se.relu_before => {
                let reason = "there is no ReLU before the module of a pre-activated block";
                Err(NetError::spec("network.se.relu_before", reason))
            }
            Some(se)
                if se.position == SePosition::BeforeLastConv && self.block == BlockKind::Basic =>
            {
                let reason = "only a bottleneck has a narrow map before its last convolution";
                Err(NetError::spec("network.se.position", reason))
            }
            _ => Ok(()),
        }
    }

    fn check_run(&self, run: &ResnetRun, inputs: usize) -> Result<(), NetError> {
        run.check_counts()?;
        if run.conv1_width.is_some() {
            let reason = "a pre-activated block has one width, given by `width`";
            return Err(NetError::spec("network.runs.conv1_width", reason));
        }
        let grouped = match self.block {
            BlockKind::Bottleneck => [run.width; 2],
            BlockKind::Basic => [inputs, run.width],
        };
        match grouped.iter().find(|&channels| channels % run.groups != 0) {
            Some(uneven) => {
                let reason = format!("{uneven} channels do not divide into {} groups", run.groups);
                Err(NetError::spec("network.runs.groups", reason))
            }
            None => Ok(()),
        }
    }
}
