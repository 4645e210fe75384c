//! Checks that a JPEG's compressed data is complete before a decoder turns it into pixels.
//!
//! Decoders continue after damage: they fill in grey, or lose their place at a restart marker and show
//! garbage from there on. This check parses every code without computing pixels, so that a missing or
//! misplaced restart marker, an invalid code and truncated data are errors. Damage that leaves a valid
//! file cannot be detected; every decoder gives the same pixels for it. Bytes between the last code of
//! a scan and the next marker are skipped, as in libjpeg.

use super::codes::{Bits, Damage, Table};
use super::{FORMAT, Frame, STANDARD_TABLES, Segments, marker};
use crate::preprocess::error::ImageError;

/// Scans beyond which a file is refused; no program writes so many. A scan of a few bytes can take long to
/// decode.
const MOST_SCANS: usize = 100;

/// What the decoders need to know about a file that passed the check.
pub(super) struct Layout {
    /// A scan uses Huffman tables that the file does not define, so it relies on the standard's.
    pub(super) lacks_tables: bool,
    /// There are other bytes between the segments before the first scan.
    pub(super) has_gaps: bool,
    /// A sequential file with a separate scan for each component.
    pub(super) has_split_scans: bool,
}

/// A component in a scan, and the slots of its Huffman tables.
struct ScanComponent {
    component: usize,
    dc: usize,
    ac: usize,
}

/// Which coefficients a scan contains: all of them unless the file is progressive.
struct Scan {
    parts: Vec<ScanComponent>,
    first: u32,
    last: u32,
    is_refinement: bool,
}

struct Checker<'a> {
    frame: &'a Frame,
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// MCUs between restart markers; 0 where there are none.
    interval: usize,
    /// For each component and block, a bit mask of the coefficients that are not 0 so far. Only kept
    /// for progressive files, whose refinement scans read one bit for each.
    nonzero: Vec<Vec<u64>>,
    layout: Layout,
    /// Whether each component has had a scan with its first coefficient.
    seen: Vec<bool>,
}

/// Parses the compressed data of a file to its end.
pub(super) fn check(bytes: &[u8], frame: &Frame) -> Result<Layout, ImageError> {
    let count = frame.components.len();
    let mut checker = Checker {
        frame,
        dc: [const { None }; 4],
        ac: [const { None }; 4],
        interval: 0,
        nonzero: vec![Vec::new(); count],
        layout: Layout {
            lacks_tables: false,
            has_gaps: false,
            has_split_scans: false,
        },
        seen: vec![false; count],
    };
    let mut segments = Segments::new(bytes);
    let mut scans = 0;
    loop {
        let Some((marker, segment)) = segments.next() else {
            let reason = "the file ends before the end of the image";
            return Err(ImageError::decode(FORMAT, reason));
        };
        match marker {
            marker::END_OF_IMAGE => break,
            marker::HUFFMAN_TABLES => checker.define(segment)?,
            marker::RESTART_INTERVAL => {
                checker.interval = match segment {
                    [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
                    _ => return Err(damaged("its restart interval is truncated")),
                };
            }
            marker::START_OF_SCAN => {
                scans += 1;
                if scans == 1 {
                    checker.layout.has_gaps = segments.has_gaps;
                }
                if scans > MOST_SCANS {
                    return Err(damaged("it has too many scans"));
                }
                let scan = checker.scan(segment)?;
                let mut bits = Bits::new(bytes, segments.position());
                checker.parse(&scan, &mut bits).map_err(describe)?;
                segments.skip_to(bits.position());
            }
            _ => {}
        }
    }
    if checker.seen.contains(&false) {
        return Err(damaged("a colour component has no data"));
    }
    Ok(checker.layout)
}

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::decode(FORMAT, format!("its data is damaged: {reason}"))
}

fn describe(damage: Damage) -> ImageError {
    damaged(match damage {
        Damage::Cut => "it ends before the last pixel",
        Damage::Code => "it has an invalid code",
        Damage::Table => "a scan uses a table that is not defined",
        Damage::Restart => "a restart marker is missing or in the wrong place",
    })
}

impl Checker<'_> {
    fn define(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        while let Some((&[kind], rest)) = segment.split_first_chunk() {
            let tables = match kind >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(damaged("it has an unknown kind of Huffman table")),
            };
            let parsed = tables
                .get_mut(usize::from(kind & 15))
                .zip(Table::parse(rest));
            let Some((slot, (mut table, rest))) = parsed else {
                return Err(damaged("a Huffman table is invalid"));
            };
            if kind >> 4 == 1 && !self.frame.is_progressive {
                table.combine();
            }
            *slot = Some(table);
            segment = rest;
        }
        Ok(())
    }

    /// Parses the header of a scan. Tables that it needs but the file does not define are set to the
    /// standard's.
    fn scan(&mut self, segment: &[u8]) -> Result<Scan, ImageError> {
        let invalid = || damaged("the header of a scan is invalid");
        let (&count, rest) = segment.split_first().ok_or_else(invalid)?;
        let (parts, rest) = rest
            .split_at_checked(2 * usize::from(count))
            .ok_or_else(invalid)?;
        let &[first, last, approximation, ..] = rest else {
            return Err(invalid());
        };
        let mut scan = Scan {
            parts: Vec::new(),
            first: u32::from(first),
            last: u32::from(last),
            is_refinement: approximation >> 4 != 0,
        };
        for part in parts.as_chunks::<2>().0 {
            let [id, tables] = *part;
            let place = self.frame.components.iter().position(|c| c.id == id);
            let component = place.ok_or_else(invalid)?;
            let is_done = self.seen[component] && !self.frame.is_progressive;
            if is_done || scan.parts.iter().any(|part| part.component == component) {
                return Err(invalid());
            }
            scan.parts.push(ScanComponent {
                component,
                dc: usize::from(tables >> 4),
                ac: usize::from(tables & 15),
            });
        }
        if !self.frame.is_progressive {
            (scan.first, scan.last, scan.is_refinement) = (0, 63, false);
            self.layout.has_split_scans |= scan.parts.len() != self.frame.components.len();
            if self.uses_undefined(&scan) {
                self.layout.lacks_tables = true;
                let defined = (std::mem::take(&mut self.dc), std::mem::take(&mut self.ac));
                self.define(&STANDARD_TABLES)?;
                let fill = |slots: &mut [Option<Table>; 4], defined: [Option<Table>; 4]| {
                    for (slot, defined) in slots.iter_mut().zip(defined) {
                        *slot = defined.or(slot.take());
                    }
                };
                fill(&mut self.dc, defined.0);
                fill(&mut self.ac, defined.1);
            }
        }
        let is_dc = scan.first == 0 && (scan.last == 0 || !self.frame.is_progressive);
        let is_ac = scan.first > 0 && scan.parts.len() == 1 && scan.first <= scan.last;
        if scan.parts.is_empty() || scan.last > 63 || !(is_dc || is_ac) {
            return Err(invalid());
        }
        Ok(scan)
    }

    fn uses_undefined(&self, scan: &Scan) -> bool {
        let mut parts = scan.parts.iter();
        parts.any(|part| table(&self.dc, part.dc).is_none() || table(&self.ac, part.ac).is_none())
    }

    fn parse(&mut self, scan: &Scan, bits: &mut Bits<'_>) -> Result<(), Damage> {
        let frame = self.frame;
        // A scan of one component consists of its blocks; a scan of several consists of MCUs.
        let single = match scan.parts[..] {
            [ScanComponent { component, .. }] => Some(component),
            _ => None,
        };
        let (columns, rows) = single.map_or(frame.mcus(), |component| frame.blocks(component));
        let mcus = bits.mcus(columns * rows, self.interval);
        let blocks = |part: &ScanComponent| match single {
            Some(_) => 1,
            None => frame.components[part.component].blocks_in_mcu(),
        };
        let (dc, ac) = (&self.dc, &self.ac);
        if scan.first == 0 {
            for part in &scan.parts {
                self.seen[part.component] = true;
            }
        }
        match (frame.is_progressive, scan.first, scan.is_refinement) {
            (false, ..) => {
                let parts = scan.parts.iter().map(|part| {
                    let tables = table(dc, part.dc).zip(table(ac, part.ac));
                    tables.map(|(dc, ac)| (blocks(part), dc, ac))
                });
                let parts: Vec<_> = parts.collect::<Option<_>>().ok_or(Damage::Table)?;
                mcus.each(|_, bits| {
                    for &(blocks, dc, ac) in &parts {
                        for _ in 0..blocks {
                            bits.block(dc, ac)?;
                        }
                    }
                    Ok(())
                })
            }
            (true, 0, false) => {
                let parts = scan.parts.iter();
                let parts = parts.map(|part| Some((blocks(part), table(dc, part.dc)?)));
                let parts: Vec<_> = parts.collect::<Option<_>>().ok_or(Damage::Table)?;
                mcus.each(|_, bits| {
                    for &(blocks, dc) in &parts {
                        for _ in 0..blocks {
                            bits.difference(dc)?;
                        }
                    }
                    Ok(())
                })
            }
            (true, 0, true) => {
                let blocks = scan.parts.iter().map(blocks).sum();
                mcus.each(|_, bits| bits.skip(blocks))
            }
            (true, first, is_refinement) => {
                let part = &scan.parts[0];
                let ac = table(ac, part.ac).ok_or(Damage::Table)?;
                let nonzero = &mut self.nonzero[part.component];
                nonzero.resize(columns * rows, 0);
                mcus.each(|block, bits| {
                    let nonzero = &mut nonzero[block];
                    match is_refinement {
                        false => bits.band(ac, first..=scan.last, nonzero),
                        true => bits.refined_band(ac, first..=scan.last, nonzero),
                    }
                })
            }
        }
    }
}

fn table(tables: &[Option<Table>; 4], slot: usize) -> Option<&Table> {
    tables.get(slot)?.as_ref()
}
