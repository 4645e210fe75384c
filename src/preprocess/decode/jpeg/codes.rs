//! Parses the Huffman codes of a JPEG without keeping their values.
//!
//! The rules are those of ITU-T T.81, annexes F and G.

use std::ops::RangeInclusive;

/// What is wrong with compressed data.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    /// A marker or the end of the file where codes were expected.
    Cut,
    Code,
    Table,
    Restart,
}

/// Longest code, in bits, that is found by one table look-up.
const FAST: u32 = 10;

/// Bits per look-up where several codes are skipped in one step.
const WIDE: u32 = 12;

/// The whole AC codes, with the bits of their values, that begin in the next [`WIDE`] bits.
#[derive(Clone, Copy, Default)]
struct Step {
    /// Total bits; 0 if the first code is longer than [`FAST`].
    bits: u8,
    /// Coefficients that the codes cover, at most 64, plus [`END`] if the last code ends the block.
    places: u8,
}

const END: u8 = 1 << 7;

/// A Huffman table.
pub(super) struct Table {
    /// Indexed by the next [`WIDE`] bits.
    steps: [Step; 1 << WIDE],
    /// For the next [`FAST`] bits: length of the code (0: longer than that) and its symbol.
    fast: [(u8, u8); 1 << FAST],
    /// For each length: one more than its last code, shifted left to 16 bits, and the offset from a
    /// code to its index in `symbols`.
    ends: [(u32, i32); 17],
    symbols: [u8; 256],
}

impl Table {
    /// Parses the number of codes of each length and the symbols in order; returns the bytes that follow.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (counts, rest) = bytes.split_first_chunk::<16>()?;
        let total = counts.iter().map(|&count| usize::from(count)).sum();
        let (symbols, rest) = rest.split_at_checked(total)?;
        let mut table = Self {
            steps: [Step::default(); 1 << WIDE],
            fast: [(0, 0); 1 << FAST],
            ends: [(0, 0); 17],
            symbols: [0; 256],
        };
        table.symbols.get_mut(..total)?.copy_from_slice(symbols);
        let (mut code, mut place) = (0u32, 0usize);
        for (length, &count) in (1..).zip(counts) {
            let first = code;
            for &symbol in &symbols[place..place + usize::from(count)] {
                if length <= FAST {
                    let start = (code << (FAST - length)) as usize;
                    let same = table.fast.get_mut(start..start + (1 << (FAST - length)))?;
                    same.fill((length as u8, symbol));
                }
                code += 1;
            }
            if code > 1 << length {
                return None;
            }
            table.ends[length as usize] = (code << (16 - length), place as i32 - first as i32);
            place += usize::from(count);
            code <<= 1;
        }
        Some((table, rest))
    }

    /// Fills in `steps`, which only the AC tables of sequential files need.
    pub(super) fn combine(&mut self) {
        for (bits, step) in self.steps.iter_mut().enumerate() {
            while u32::from(step.bits) < WIDE && step.places < 48 {
                let next = (bits << step.bits) & ((1 << WIDE) - 1);
                let (length, symbol) = self.fast[next >> (WIDE - FAST)];
                if length == 0 || u32::from(step.bits + length) > WIDE {
                    break;
                }
                let (zeros, size) = (symbol >> 4, symbol & 15);
                step.bits += length + size;
                match (zeros, size) {
                    (15, 0) => step.places += 16,
                    (_, 0) => step.places |= END,
                    _ => step.places += zeros + 1,
                }
            }
        }
    }

    /// Length and symbol of the code that the upper bits of `buffer` begin with.
    fn look_up(&self, buffer: u64) -> Option<(u32, u8)> {
        let (length, symbol) = self.fast[(buffer >> (64 - FAST)) as usize];
        if length != 0 {
            return Some((u32::from(length), symbol));
        }
        let code = (buffer >> 48) as u32;
        let length = (FAST + 1..=16).find(|&length| code < self.ends[length as usize].0)?;
        let place = (code >> (16 - length)) as i32 + self.ends[length as usize].1;
        let symbol = self.symbols.get(usize::try_from(place).ok()?)?;
        Some((length, *symbol))
    }
}

/// Whether one of the bytes is 0xFF.
fn has_ff(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    (!word).wrapping_sub(ONES) & word & (ONES << 7) != 0
}

/// A mask with the bits from `place` to `end`, both at most 63; 0 if `place` is greater.
fn rest_of_band(place: u32, end: u32) -> u64 {
    u64::MAX.checked_shl(place).unwrap_or(0) & (u64::MAX >> (63 - end))
}

/// Reads the bits between two markers.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the highest bit down and followed by zeros, and how many there are.
    buffer: u64,
    count: u32,
    /// How many of the next blocks have no further coefficients in this band, by an earlier code.
    run: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            buffer: 0,
            count: 0,
            run: 0,
        }
    }

    /// A position at or before the next marker.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Fills the buffer to at least 56 bits if fewer than 32 are left, unless a marker comes first.
    #[inline(always)]
    fn refill(&mut self) {
        if self.count < 32 {
            let rest = self.bytes.get(self.at..);
            match rest.and_then(|rest| rest.first_chunk()) {
                Some(&word) if !has_ff(u64::from_be_bytes(word)) => {
                    // A byte that fits only in part is read again next time, to the same bits.
                    self.buffer |= u64::from_be_bytes(word) >> self.count;
                    let bytes = (64 - self.count) / 8;
                    self.count += 8 * bytes;
                    self.at += bytes as usize;
                }
                _ => self.refill_bytes(),
            }
        }
    }

    #[cold]
    fn refill_bytes(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else {
                return;
            };
            if byte == 0xFF {
                let mut next = self.at + 1;
                while self.bytes.get(next) == Some(&0xFF) {
                    next += 1;
                }
                // A stuffed zero marks the byte as data.
                if self.bytes.get(next) != Some(&0) {
                    return;
                }
                self.at = next;
            }
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Skips up to 16 bits, or more if the buffer has them.
    #[inline(always)]
    fn consume(&mut self, length: u32) -> Result<(), Damage> {
        if length > self.count {
            return Err(Damage::Cut);
        }
        self.buffer <<= length;
        self.count -= length;
        Ok(())
    }

    /// Reads a code. At least 16 bits after it are in the buffer unless a marker comes first.
    #[inline(always)]
    fn symbol(&mut self, table: &Table) -> Result<u8, Damage> {
        self.refill();
        match table.look_up(self.buffer) {
            Some((length, symbol)) => self.consume(length).map(|()| symbol),
            None if self.count < 16 => Err(Damage::Cut),
            None => Err(Damage::Code),
        }
    }

    /// Reads a number of `length` bits, at most 16.
    fn number(&mut self, length: u32) -> Result<u32, Damage> {
        self.refill();
        // In two steps, because a length of 0 would shift by 64.
        let number = self.buffer >> 1 >> (63 - length);
        self.consume(length).map(|()| number as u32)
    }

    /// Skips any number of bits.
    pub(super) fn skip(&mut self, mut length: u32) -> Result<(), Damage> {
        while length > 0 {
            self.refill();
            let part = length.min(16);
            self.consume(part)?;
            length -= part;
        }
        Ok(())
    }

    /// Skips the DC coefficient of a block.
    #[inline(always)]
    pub(super) fn difference(&mut self, table: &Table) -> Result<(), Damage> {
        match u32::from(self.symbol(table)?) {
            length @ ..=16 => self.consume(length),
            _ => Err(Damage::Code),
        }
    }

    /// Skips the codes of one [`Step`] and returns the next coefficient, 64 or more at the end of the
    /// block. `None` if they are not all available or not all of this block.
    #[inline(always)]
    fn step(&mut self, table: &Table, place: u32) -> Option<u32> {
        self.refill();
        let step = table.steps[(self.buffer >> (64 - WIDE)) as usize];
        let (bits, next) = (u32::from(step.bits), place + u32::from(step.places));
        // A code that ends a block comes before its last place.
        let (end, next_place) = (next / u32::from(END), next % u32::from(END));
        if bits == 0 || bits > self.count || next_place + end > 64 {
            return None;
        }
        self.buffer <<= bits;
        self.count -= bits;
        Some(next)
    }

    /// Skips all coefficients of a block.
    pub(super) fn block(&mut self, dc: &Table, ac: &Table) -> Result<(), Damage> {
        self.difference(dc)?;
        let mut place = 1;
        while place < 64 {
            if let Some(next) = self.step(ac, place) {
                place = next;
                continue;
            }
            let symbol = self.symbol(ac)?;
            let (zeros, length) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (zeros, length) {
                (15, 0) => place += 16,
                (_, 0) => return Ok(()),
                _ => {
                    self.consume(length)?;
                    place += zeros + 1;
                    if place > 64 {
                        return Err(Damage::Code);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a band of coefficients of a block in its first scan, and marks those that are not 0.
    pub(super) fn band(
        &mut self,
        table: &Table,
        band: RangeInclusive<u32>,
        nonzero: &mut u64,
    ) -> Result<(), Damage> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let mut place = *band.start();
        while place <= *band.end() {
            let symbol = self.symbol(table)?;
            let (zeros, length) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (zeros, length) {
                (15, 0) => place += 16,
                (_, 0) => {
                    self.run = (1 << zeros) - 1 + self.number(zeros)?;
                    return Ok(());
                }
                _ => {
                    self.consume(length)?;
                    place += zeros;
                    if place > *band.end() {
                        return Err(Damage::Code);
                    }
                    *nonzero |= 1 << place;
                    place += 1;
                }
            }
        }
        Ok(())
    }

    /// Reads a band in a refinement scan: a bit for each coefficient that is not 0, and new ones.
    pub(super) fn refined_band(
        &mut self,
        table: &Table,
        band: RangeInclusive<u32>,
        nonzero: &mut u64,
    ) -> Result<(), Damage> {
        let mut place = *band.start();
        let end = *band.end();
        while self.run == 0 && place <= end {
            let symbol = self.symbol(table)?;
            let (mut zeros, length) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (zeros, length) {
                (_, 1) => self.consume(1)?,
                (15, 0) => {}
                (_, 0) => {
                    self.run = (1 << zeros) + self.number(zeros)?;
                    break;
                }
                _ => return Err(Damage::Code),
            }
            // Skip `zeros` coefficients that are still 0, to the next such one or the end of the band.
            let mut still_zero = !*nonzero & rest_of_band(place, end);
            while zeros > 0 && still_zero != 0 {
                still_zero &= still_zero - 1;
                zeros -= 1;
            }
            let next = still_zero.trailing_zeros().min(end + 1);
            let refined = *nonzero & rest_of_band(place, next - 1);
            self.skip(refined.count_ones())?;
            place = next;
            if length == 1 {
                if place > end {
                    return Err(Damage::Code);
                }
                *nonzero |= 1 << place;
            }
            place += 1;
        }
        if self.run > 0 {
            self.run -= 1;
            if place <= end {
                let rest = *nonzero & rest_of_band(place, end);
                self.skip(rest.count_ones())?;
            }
        }
        Ok(())
    }

    /// The MCUs of a scan, with a restart marker after every `interval` (0: none).
    pub(super) fn mcus(&mut self, count: usize, interval: usize) -> Mcus<'_, 'a> {
        Mcus {
            bits: self,
            count,
            interval,
        }
    }

    /// Skips restart marker number `index` of the scan.
    fn restart(&mut self, index: usize) -> Result<(), Damage> {
        self.refill();
        // The last byte may have padding; a whole byte more means that codes are missing.
        if self.count >= 8 || self.bytes.get(self.at) != Some(&0xFF) {
            return Err(Damage::Restart);
        }
        while self.bytes.get(self.at) == Some(&0xFF) {
            self.at += 1;
        }
        if self.bytes.get(self.at) != Some(&(0xD0 + (index % 8) as u8)) {
            return Err(Damage::Restart);
        }
        *self = Self::new(self.bytes, self.at + 1);
        Ok(())
    }
}

/// See [`Bits::mcus`].
pub(super) struct Mcus<'b, 'a> {
    bits: &'b mut Bits<'a>,
    count: usize,
    interval: usize,
}

impl<'a> Mcus<'_, 'a> {
    pub(super) fn each(
        self,
        mut read: impl FnMut(usize, &mut Bits<'a>) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let mut left = self.interval;
        let mut restarts = 0;
        for mcu in 0..self.count {
            if self.interval != 0 {
                if left == 0 {
                    self.bits.restart(restarts)?;
                    restarts += 1;
                    left = self.interval;
                }
                left -= 1;
            }
            read(mcu, self.bits)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::STANDARD_TABLES;
    use super::{Bits, Table};

    /// Without [`Table::combine`] codes are parsed one by one.
    #[test]
    fn steps_end_where_single_codes_do() {
        // Two luma tables, DC and AC, each after a byte that says which it is.
        let (dc, rest) = Table::parse(&STANDARD_TABLES[1..]).unwrap();
        let (ac, _) = Table::parse(&rest[1..]).unwrap();
        let (mut combined, _) = Table::parse(&rest[1..]).unwrap();
        combined.combine();
        let mut state = 1u32;
        for round in 0..2000 {
            let random = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Fewer set bits give short codes and full blocks.
                let byte = (state >> 24) as u8;
                if round % 2 == 0 {
                    byte
                } else {
                    byte & byte >> 1
                }
            };
            // No 0xFF, because its stuffed zero would be counted as 8 bits.
            let bytes: Vec<u8> = std::iter::repeat_with(random)
                .map(|byte| byte.min(0xFE))
                .take(120)
                .collect();
            let parse = |ac: &Table| {
                let mut bits = Bits::new(&bytes, 0);
                let blocks = (0..).map_while(|_| {
                    bits.block(&dc, ac).ok()?;
                    Some(8 * bits.at - bits.count as usize)
                });
                blocks.collect::<Vec<_>>()
            };
            assert_eq!(parse(&combined), parse(&ac));
        }
    }
}
