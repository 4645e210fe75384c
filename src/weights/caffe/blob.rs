//! Blobs: a shape and values, of which Protocol Buffers allow several spellings.

use std::ops::Range;

use super::super::DType;
use super::fields::{Fault, Fields, Value};

/// As in Caffe.
const MAX_AXES: usize = 32;
/// Longest side of a blob.
const MAX_SIDE: u64 = i32::MAX as u64;
/// Runs of values with something else between them: a file of single values would need more memory for their
/// places than it has bytes.
const MAX_PIECES: usize = 1 << 16;

/// A blob of a layer.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

/// Where its values are.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// One after the other in the file.
    Whole {
        start: usize,
        count: usize,
        dtype: DType,
    },
    /// In several runs.
    Pieces { pieces: Vec<Piece>, dtype: DType },
    /// Not in the file: from this byte on of what was computed, in f64.
    Computed { start: usize },
}

/// Values with the same number of bytes from each to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    start: usize,
    count: usize,
    step: usize,
}

/// What is wrong with a blob.
pub(super) enum Problem {
    Fault(Fault),
    Damaged(String),
    /// More than so many runs of values.
    Pieces(u64),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Reads the `BlobProto` in a range of the file.
pub(super) fn read(bytes: &[u8], place: Range<usize>) -> Result<Blob, Problem> {
    let mut legacy = None;
    let mut shape = None;
    let (mut singles, mut doubles) = (Run::new(4), Run::new(8));
    let mut fields = Fields::new(bytes, place);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1..=4, Value::Number(side)) => {
                legacy.get_or_insert([0; 4])[number as usize - 1] = side;
            }
            (7, Value::Bytes(place)) => shape = Some(read_shape(bytes, place)?),
            (5, Value::Bytes(place)) => singles.packed(place)?,
            // A value alone follows the byte that announces it.
            (5, Value::Fixed32(at)) => singles.add(at, 1, 5)?,
            (8, Value::Bytes(place)) => doubles.packed(place)?,
            (8, Value::Fixed64(at)) => doubles.add(at, 1, 9)?,
            (1..=5 | 7 | 8, _) => return Err(Problem::Damaged("a field of the wrong kind".into())),
            _ => {}
        }
    }
    // As in Caffe, the older form counts where it is given.
    let sides = legacy.map(|sides| sides.to_vec()).or(shape);
    let sides = sides.ok_or_else(|| Problem::Damaged("it has no shape".into()))?;
    let run = if doubles.pieces.is_empty() {
        singles
    } else {
        doubles
    };
    let mut shape = Vec::with_capacity(sides.len());
    for side in sides {
        if side > MAX_SIDE {
            let side = side as i64;
            return Err(Problem::Damaged(format!("a side of {side}")));
        }
        shape.push(side as usize);
    }
    let expected = shape
        .iter()
        .try_fold(1usize, |n, &side| n.checked_mul(side));
    let count: usize = run.pieces.iter().map(|piece| piece.count).sum();
    if expected != Some(count) {
        return Err(Problem::Damaged(format!(
            "the shape {shape:?} does not fit {count} values"
        )));
    }
    Ok(Blob {
        shape,
        data: run.data(count),
    })
}

/// The `BlobShape` in a range of the file, whose sides are packed or not.
fn read_shape(bytes: &[u8], place: Range<usize>) -> Result<Vec<u64>, Problem> {
    let mut sides = Vec::new();
    let mut fields = Fields::new(bytes, place);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Number(side)) => sides.push(side),
            (1, Value::Bytes(place)) => {
                let mut packed = Fields::new(bytes, place);
                while !packed.is_at_end() && sides.len() <= MAX_AXES {
                    sides.push(packed.varint()?);
                }
            }
            _ => {}
        }
        if sides.len() > MAX_AXES {
            let problem = format!("a shape with more than {MAX_AXES} sides");
            return Err(Problem::Damaged(problem));
        }
    }
    Ok(sides)
}

/// The values of one of the two types, as they are found.
struct Run {
    size: usize,
    pieces: Vec<Piece>,
}

impl Run {
    fn new(size: usize) -> Self {
        let pieces = Vec::new();
        Self { size, pieces }
    }

    fn packed(&mut self, place: Range<usize>) -> Result<(), Problem> {
        if !place.len().is_multiple_of(self.size) {
            let problem = format!("{} bytes are no whole number of values", place.len());
            return Err(Problem::Damaged(problem));
        }
        self.add(place.start, place.len() / self.size, self.size)
    }

    fn add(&mut self, start: usize, count: usize, step: usize) -> Result<(), Problem> {
        if count == 0 {
            return Ok(());
        }
        if let Some(last) = self.pieces.last_mut()
            && (last.step, last.start + last.count * step) == (step, start)
        {
            last.count += count;
            return Ok(());
        }
        if self.pieces.len() == MAX_PIECES {
            return Err(Problem::Pieces(MAX_PIECES as u64));
        }
        self.pieces.push(Piece { start, count, step });
        Ok(())
    }

    fn data(self, count: usize) -> Data {
        let dtype = if self.size == 8 {
            DType::F64
        } else {
            DType::F32
        };
        match self.pieces[..] {
            [] => Data::Whole {
                start: 0,
                count,
                dtype,
            },
            [Piece { start, step, .. }] if step == self.size => Data::Whole {
                start,
                count,
                dtype,
            },
            _ => Data::Pieces {
                pieces: self.pieces,
                dtype,
            },
        }
    }
}

impl Data {
    /// The values of a blob of the file's.
    pub(super) fn values(&self, bytes: &[u8]) -> Vec<f64> {
        let read = |pieces: &[Piece], dtype: DType| {
            let places = pieces.iter().flat_map(|piece| {
                (0..piece.count).map(move |index| piece.start + index * piece.step)
            });
            let value = |at: usize| match dtype {
                DType::F64 => bytes[at..]
                    .first_chunk()
                    .map_or(0.0, |raw| f64::from_le_bytes(*raw)),
                _ => bytes[at..]
                    .first_chunk()
                    .map_or(0.0, |raw| f64::from(f32::from_le_bytes(*raw))),
            };
            places.map(value).collect()
        };
        match self {
            Self::Whole {
                start,
                count,
                dtype,
            } => {
                let step = if *dtype == DType::F64 { 8 } else { 4 };
                let (start, count) = (*start, *count);
                read(&[Piece { start, count, step }], *dtype)
            }
            Self::Pieces { pieces, dtype } => read(pieces, *dtype),
            Self::Computed { .. } => Vec::new(),
        }
    }
}

impl Blob {
    /// Drops leading sides of 1 until there are so many: older files give every blob four.
    pub(super) fn squeeze(&mut self, axes: usize) {
        let ones = self.shape.iter().take_while(|&&side| side == 1).count();
        let spare = self.shape.len().saturating_sub(axes);
        self.shape.drain(..ones.min(spare));
    }
}
