//! What a spec must satisfy before layers can be made from it.

use super::NetError;
use super::spec::{BlockKind, NetworkSpec, SePosition, StrideOn};

/// No real network comes near; keeps products of a hostile spec far from overflow.
const MAX_CHANNELS: usize = 1 << 16;
const MAX_BLOCKS: usize = 1000;

impl NetworkSpec {
    /// Checks that the lists fit each other and that every number makes a layer.
    ///
    /// # Errors
    /// [`NetError::Spec`] naming the first field that is wrong.
    pub fn check(&self) -> Result<(), NetError> {
        let stages = self.layers.len();
        if !(1..=8).contains(&stages) {
            let reason = format!("expected one to eight stages, found {stages}");
            return Err(NetError::spec("network.layers", reason));
        }
        counts("network.layers", &self.layers, stages, MAX_BLOCKS)?;
        counts("network.channels", &self.channels, stages, MAX_CHANNELS)?;
        counts("network.widths", &self.widths, stages, MAX_CHANNELS)?;
        if let Some(widths) = &self.conv1_widths {
            counts("network.conv1_widths", widths, stages, MAX_CHANNELS)?;
        }
        if let Some(groups) = &self.groups {
            counts("network.groups", groups, stages, MAX_CHANNELS)?;
        }
        if let Some(outputs) = self.head_conv {
            counts("network.head_conv", &[outputs], 1, MAX_CHANNELS)?;
        }
        self.check_stem()?;
        self.check_block()?;
        self.check_attention(stages)?;
        self.check_groups()
    }

    fn check_stem(&self) -> Result<(), NetError> {
        let stem = &self.stem;
        counts("network.stem.inputs", &[stem.inputs], 1, MAX_CHANNELS)?;
        if !(1..=8).contains(&stem.widths.len()) {
            let reason = format!("expected one to eight entries, found {}", stem.widths.len());
            return Err(NetError::spec("network.stem.widths", reason));
        }
        counts(
            "network.stem.widths",
            &stem.widths,
            stem.widths.len(),
            MAX_CHANNELS,
        )?;
        counts("network.stem.strides", &stem.strides, stem.widths.len(), 8)?;
        if stem.kernel.is_multiple_of(2) || stem.kernel > 31 {
            let reason = format!("expected an odd size up to 31, found {}", stem.kernel);
            return Err(NetError::spec("network.stem.kernel", reason));
        }
        Ok(())
    }

    fn check_block(&self) -> Result<(), NetError> {
        if self.block != BlockKind::Basic {
            return Ok(());
        }
        if self.stride_on != StrideOn::Conv1 {
            let reason = "a basic block has its stride on conv1";
            return Err(NetError::spec("network.stride_on", reason));
        }
        if self.conv1_widths.is_some() {
            let reason = "a basic block has one width, given by `widths`";
            return Err(NetError::spec("network.conv1_widths", reason));
        }
        Ok(())
    }

    fn check_attention(&self, stages: usize) -> Result<(), NetError> {
        match (&self.se, &self.sk) {
            (Some(se), None) => {
                counts("network.se.reduced", &se.reduced, stages, MAX_CHANNELS)?;
                if se.position == SePosition::BeforeLastConv && self.block == BlockKind::Basic {
                    let reason = "only a bottleneck has a narrow map before its last convolution";
                    return Err(NetError::spec("network.se.position", reason));
                }
                Ok(())
            }
            (None, Some(sk)) => {
                counts("network.sk.reduced", &sk.reduced, stages, MAX_CHANNELS)?;
                if self.block == BlockKind::Bottleneck && self.stride_on != StrideOn::Conv2 {
                    let reason = "a selective-kernel bottleneck has its stride on conv2";
                    return Err(NetError::spec("network.stride_on", reason));
                }
                Ok(())
            }
            _ => Err(NetError::spec(
                "network.se",
                "exactly one of `se` and `sk` must be given",
            )),
        }
    }

    /// The grouped convolution must divide evenly on both sides.
    fn check_groups(&self) -> Result<(), NetError> {
        let split = self.sk.as_ref().is_some_and(|sk| sk.split_input);
        let mut previous = self.stem.widths.last().copied().unwrap_or(0);
        for stage in 0..self.layers.len() {
            let groups = self.groups.as_ref().map_or(1, |groups| groups[stage]);
            let width = self.widths[stage];
            let mut inputs = match self.block {
                BlockKind::Bottleneck => {
                    vec![self.conv1_widths.as_ref().map_or(width, |w| w[stage])]
                }
                BlockKind::Basic => vec![previous, self.channels[stage]],
            };
            previous = self.channels[stage];
            if split {
                if let Some(odd) = inputs.iter().find(|&&channels| channels % 2 == 1) {
                    let reason = format!("{odd} channels of stage {} cannot be halved", stage + 1);
                    return Err(NetError::spec("network.sk.split_input", reason));
                }
                inputs.iter_mut().for_each(|channels| *channels /= 2);
            }
            inputs.push(width);
            if let Some(uneven) = inputs.iter().find(|&&channels| channels % groups != 0) {
                let reason = format!(
                    "{uneven} channels of stage {} do not divide into {groups} groups",
                    stage + 1
                );
                return Err(NetError::spec("network.groups", reason));
            }
        }
        Ok(())
    }
}

/// `values` has `expected` entries, each between 1 and `most`.
fn counts(
    field: &'static str,
    values: &[usize],
    expected: usize,
    most: usize,
) -> Result<(), NetError> {
    if values.len() != expected {
        let reason = format!("expected {expected} entries, found {}", values.len());
        return Err(NetError::spec(field, reason));
    }
    match values.iter().find(|&&value| value == 0 || value > most) {
        Some(value) => Err(NetError::spec(
            field,
            format!("expected 1 to {most}, found {value}"),
        )),
        None => Ok(()),
    }
}
