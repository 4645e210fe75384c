//! What a spec must satisfy before layers can be made from it.

use super::{BlockSpec, KernelSpec, LayerSpec, LayersSpec, ShiftSpec};
use crate::nets::NetError;
use crate::nets::families::shared::{MAX_BLOCKS, MAX_CHANNELS, check_eps, count};

const MAX_BRANCHES: usize = 16;
const MAX_DEPTH: usize = 4;
const MAX_KERNEL: usize = 31;
const MAX_NAME: usize = 128;

impl LayersSpec {
    /// Checks the fields that can be checked alone.
    ///
    /// # Errors
    /// [`NetError::Spec`] naming the first field that is wrong.
    pub(super) fn check(&self) -> Result<(), NetError> {
        count("network.inputs", self.inputs, MAX_CHANNELS)?;
        check_eps(self.eps)?;
        count("network.stem", self.stem.len(), 8)?;
        for layer in &self.stem {
            if layer.conv.is_none() {
                let reason = "expected convolutions alone";
                return Err(NetError::spec("network.stem", reason));
            }
            layer.check("network.stem", MAX_DEPTH)?;
        }
        let blocks = self.blocks.iter().map(|block| block.repeat);
        let blocks = blocks.fold(0, usize::saturating_add);
        count("network.blocks", blocks, MAX_BLOCKS)?;
        let mut before = 0;
        for block in &self.blocks {
            if block.stage != before + 1 && (block.stage != before || before == 0) {
                let found = block.stage;
                let reason = format!(
                    "{}: expected stage {}, found {found}",
                    block.name,
                    before + 1
                );
                return Err(NetError::spec("network.blocks.stage", reason));
            }
            before = block.stage;
            block.check()?;
        }
        Ok(())
    }
}

impl BlockSpec {
    fn check(&self) -> Result<(), NetError> {
        name("network.blocks.name", &self.name)?;
        if self.name.is_empty() {
            return Err(NetError::spec(
                "network.blocks.name",
                "expected a name, found none",
            ));
        }
        count("network.blocks.repeat", self.repeat, MAX_BLOCKS)?;
        if self.first > MAX_BLOCKS {
            let reason = format!("expected at most {MAX_BLOCKS}, found {}", self.first);
            return Err(NetError::spec("network.blocks.first", reason));
        }
        if self.repeat > 1 && !self.name.contains("{n}") {
            let reason = format!("`{}` needs `{{n}}`, the number of the block", self.name);
            return Err(NetError::spec("network.blocks.name", reason));
        }
        if self.linear && !self.residual {
            let reason = format!("{}: a block without a sum", self.name);
            return Err(NetError::spec("network.blocks.linear", reason));
        }
        count("network.blocks.layers", self.layers.len(), MAX_BLOCKS)?;
        for layer in &self.layers {
            layer.check("network.blocks.layers", MAX_DEPTH)?;
        }
        Ok(())
    }
}

impl LayerSpec {
    /// `depth` is how often branches may still branch.
    fn check(&self, field: &'static str, depth: usize) -> Result<(), NetError> {
        let wrong = |reason: String| Err(NetError::spec(field, reason));
        let kinds = [
            self.conv.is_some(),
            self.pool.is_some(),
            self.se.is_some(),
            self.join.is_some(),
            self.shuffle.is_some(),
            self.activate.is_some(),
        ];
        let kinds = kinds.into_iter().filter(|&is| is).count();
        if kinds != 1 {
            return wrong(format!(
                "a layer has one of `conv`, `pool`, `se`, `join`, `shuffle` and `activate`, found {kinds}"
            ));
        }
        for name_of in self.name.iter().chain(&self.norm) {
            name(field, name_of)?;
        }
        if let Some(branches) = &self.join {
            count(field, branches.len(), MAX_BRANCHES)?;
            if depth == 0 {
                return wrong(format!("branches are nested more than {MAX_DEPTH} deep"));
            }
            for layer in branches.iter().flatten() {
                layer.check(field, depth - 1)?;
            }
        }
        for channels in self.se.iter().chain(&self.conv).chain(&self.shuffle) {
            count(field, *channels, MAX_CHANNELS)?;
        }
        let Some(_) = self.conv else {
            let plain = Self {
                name: self.name.clone().filter(|_| self.se.is_some()),
                conv: None,
                pool: self.pool,
                se: self.se,
                join: self.join.clone(),
                shuffle: self.shuffle,
                activate: self.activate,
                stride: 1,
                groups: 1,
                ..Self::default()
            };
            if plain == *self {
                return Ok(());
            }
            return wrong("a field of convolutions on another layer".into());
        };
        if self.name.is_none() {
            return wrong("a convolution needs a `name`".into());
        }
        count(field, self.stride, 8)?;
        count(field, self.groups, MAX_CHANNELS)?;
        let sides = match self.kernel {
            KernelSpec::Square(side) => [side; 2],
            KernelSpec::Sides(sides) => sides,
        };
        for side in sides {
            count(field, side, MAX_KERNEL)?;
        }
        if sides[0] != sides[1] && (!sides.contains(&1) || self.groups > 1) {
            return wrong(format!(
                "a kernel is square, or in one group a single row or column, found {sides:?}"
            ));
        }
        match self.scale {
            Some(_) if self.shift != ShiftSpec::Bias => {
                wrong("`scale` needs `shift = \"bias\"`".into())
            }
            Some(scale) if !scale.is_finite() => wrong(format!("`scale` is {scale}")),
            _ => Ok(()),
        }
    }
}

fn name(field: &'static str, name: &str) -> Result<(), NetError> {
    if name.len() <= MAX_NAME {
        return Ok(());
    }
    let reason = format!(
        "expected a name of at most {MAX_NAME} bytes, found {}",
        name.len()
    );
    Err(NetError::spec(field, reason))
}
