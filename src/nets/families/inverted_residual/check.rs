//! What a spec must satisfy before layers can be made from it.

use super::{InvertedResidualRun, InvertedResidualSpec, MobileBlock};
use crate::nets::NetError;
use crate::nets::families::runs;
use crate::nets::families::shared::{MAX_BLOCKS, MAX_CHANNELS, check_eps, count, kernel};

impl InvertedResidualSpec {
    /// Checks that the fields are consistent and that every layer can be built.
    ///
    /// # Errors
    /// [`NetError::Spec`] naming the first field that is wrong.
    pub(super) fn check(&self) -> Result<(), NetError> {
        check_eps(self.eps)?;
        self.stem.check()?;
        if let Some(head) = &self.head {
            count("network.head.channels", head.channels, MAX_CHANNELS)?;
            if head.bias && !head.after_pool {
                let reason = "a convolution before the pool has a BatchNorm instead of a bias";
                return Err(NetError::spec("network.head.bias", reason));
            }
        }
        if self.se.is_some() && self.runs.iter().all(|run| run.reduced.is_none()) {
            let reason = "no run has `reduced`, the channels inside the module";
            return Err(NetError::spec("network.se", reason));
        }
        runs::check(&self.runs, self.stem.outputs(), |run, _| {
            self.check_run(run)
        })
    }

    fn check_run(&self, run: &InvertedResidualRun) -> Result<(), NetError> {
        count("network.runs.blocks", run.blocks, MAX_BLOCKS)?;
        count("network.runs.stride", run.stride, 2)?;
        kernel("network.runs.kernel", run.kernel)?;
        count("network.runs.channels", run.channels, MAX_CHANNELS)?;
        let expands = matches!(run.block, MobileBlock::Inverted | MobileBlock::Fused);
        match run.width {
            Some(width) if expands => count("network.runs.width", width, MAX_CHANNELS)?,
            None if expands => {
                let reason = "an inverted or a fused block needs the channels in its middle";
                return Err(NetError::spec("network.runs.width", reason));
            }
            Some(_) => {
                let reason = "only an inverted and a fused block have channels in their middle";
                return Err(NetError::spec("network.runs.width", reason));
            }
            None => {}
        }
        let Some(reduced) = run.reduced else {
            return Ok(());
        };
        count("network.runs.reduced", reduced, MAX_CHANNELS)?;
        if self.se.is_none() {
            let reason = "the channels inside a module, but there is no `se`";
            return Err(NetError::spec("network.runs.reduced", reason));
        }
        if run.block == MobileBlock::Conv {
            let reason = "a block of one convolution has no place for a module";
            return Err(NetError::spec("network.runs.reduced", reason));
        }
        Ok(())
    }
}
