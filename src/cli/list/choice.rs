//! Which checkpoints and architectures are listed.

use anyhow::bail;
use clap::Args;

use crate::zoo::{Architecture, Card, Zoo, squash};

/// What is listed; everything without these.
#[derive(Args, Debug)]
pub(super) struct Choice {
    /// List only names that contain this text
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// List only this family of networks, such as `regnety`
    #[arg(long, value_name = "FAMILY")]
    family: Option<String>,
    /// List only networks with at most this many parameters, such as 500k or 10M
    #[arg(long, value_name = "N", value_parser = number)]
    max_params: Option<usize>,
    /// List only weights under this licence, such as mit; `permissive` for all that may be used for anything
    #[arg(long, value_name = "LICENSE")]
    license: Option<String>,
}

impl Choice {
    /// # Errors
    /// If there are none.
    pub(super) fn checkpoints(&self) -> anyhow::Result<Vec<&'static Card>> {
        self.check_family()?;
        let named = |family: &str, name: &str| self.is_named(family, name);
        let mut cards = Zoo::builtin().cards_of(named);
        cards.retain(|card| self.fits(card.params) && self.is_licensed(card));
        if cards.is_empty() {
            self.refuse("checkpoint", "senet list")?;
        }
        Ok(cards)
    }

    /// # Errors
    /// If there are none.
    pub(super) fn architectures(&self) -> anyhow::Result<Vec<Architecture>> {
        self.check_family()?;
        let zoo = Zoo::builtin();
        let all = zoo.architectures().into_iter().chain(zoo.untrained_names());
        let mut all: Vec<_> = all.filter_map(|name| zoo.architecture(name)).collect();
        all.retain(|known| self.is_named(&known.family, &known.name) && self.fits(known.params));
        if all.is_empty() {
            self.refuse("architecture", "senet list --architectures")?;
        }
        Ok(all)
    }

    fn is_named(&self, family: &str, name: &str) -> bool {
        let text = self.filter.as_deref();
        text.is_none_or(|text| squash(name).contains(&squash(text)))
            && same(self.family.as_deref(), family)
    }

    fn fits(&self, params: usize) -> bool {
        self.max_params.is_none_or(|most| params <= most)
    }

    fn is_licensed(&self, card: &Card) -> bool {
        match self.license.as_deref() {
            Some("permissive") => card.is_permissive(),
            license => same(license, &card.license),
        }
    }

    fn check_family(&self) -> anyhow::Result<()> {
        let families = Zoo::builtin().families();
        match &self.family {
            Some(family) if !families.iter().any(|known| same(Some(family), known)) => bail!(
                "there is no family `{family}`; the families are {}",
                families.join(", ")
            ),
            _ => Ok(()),
        }
    }

    /// The error if nothing fits.
    fn refuse(&self, kind: &str, all: &str) -> anyhow::Result<()> {
        match &self.filter {
            Some(filter)
                if self.family.is_none() && self.max_params.is_none() && self.license.is_none() =>
            {
                bail!("no {kind}'s name contains `{filter}`; `{all}` shows all")
            }
            _ => bail!("no {kind} fits; `{all}` shows all"),
        }
    }
}

/// Whether `name` is the one that was asked for, if any was.
fn same(wanted: Option<&str>, name: &str) -> bool {
    wanted.is_none_or(|wanted| squash(wanted) == squash(name))
}

/// A number with an optional `k`, `M` or `G`.
fn number(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        Some((at, 'g' | 'G' | 'b' | 'B')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    match digits.replace('_', "").parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok((value * unit).round() as usize),
        _ => Err("expected a number such as 500k, 10M or 25_000_000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_with_units() {
        for (text, expected) in [
            ("10M", 10_000_000),
            ("0.5m", 500_000),
            ("500k", 500_000),
            ("1.2G", 1_200_000_000),
            ("25_000_000", 25_000_000),
        ] {
            assert_eq!(number(text), Ok(expected));
        }
        for text in ["", "M", "-1M", "0", "nan", "inf", "10 M", "10MM", "é"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
