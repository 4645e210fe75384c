//! Checks a pickle before Candle's pickle machine runs it.
//!
//! A pickle is a program for a small stack machine. Candle's machine runs no Python code, but it
//! trusts its input: it allocates whatever length a string claims, copies values into and out of
//! its memo (so that a few bytes can ask for terabytes), and drops nested values recursively. The
//! pass here walks the program once, keeping of each value only its kind, its size and its depth,
//! and refuses what a state dict has no use for. It writes the program out again in the opcodes
//! that Candle knows, with these differences:
//!
//! - The opcodes of protocols 4 and 5 and Python 2's byte strings become those of protocol 2.
//! - Strings and globals are written out where the program fetches them from the memo. That makes
//!   them the last thing written, so `STACK_GLOBAL` can replace its two strings by one global.
//! - Integers are extended to 8 bytes, because Candle reads shorter negative ones as positive.
//! - `OrderedDict(items)`, as Python 2 wrote it, becomes a call of [`ORDERED_ITEMS`], because
//!   Candle takes every call of `OrderedDict` to be empty.
//!
//! The output therefore runs in time and memory bounded by [`MAX_WORK`] and [`MAX_DEPTH`].

mod input;
mod value;

use std::collections::HashMap;

use input::Input;
use value::{Kind, Value};

use super::WeightsError;
use super::globals::{self, Global, ORDERED_DICT, ORDERED_ITEMS};

/// Most bytes that running a pickle may write or copy. SENet154's state dict takes 6 MB, with an
/// optimizer's state 17 MB.
const MAX_WORK: u64 = 128 << 20;
/// Deepest nesting. A state dict reaches 8, an optimizer's state a few more.
const MAX_DEPTH: u32 = 64;
/// What a value costs beside its text; more than the size of Candle's `Object`.
const VALUE_COST: u64 = 64;

/// A pickle that is safe to run, and where it ended in the input.
pub(super) struct Vetted {
    pub(super) program: Vec<u8>,
    pub(super) end: usize,
}

/// Checks the pickle at the beginning of `input`.
///
/// # Errors
/// [`WeightsError::ForeignObject`], [`WeightsError::TooLarge`], [`WeightsError::Unsupported`] and,
/// where the input is cut short or contradicts itself, [`WeightsError::Damaged`].
pub(super) fn vet(file: &str, input: &[u8]) -> Result<Vetted, WeightsError> {
    let mut pass = Pass {
        input: Input::new(file, input),
        out: Vec::new(),
        work: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        changes: Vec::new(),
    };
    while pass.step()? {}
    Ok(Vetted {
        program: pass.out,
        end: pass.input.pos(),
    })
}

struct Pass<'a> {
    input: Input<'a>,
    out: Vec<u8>,
    work: u64,
    stack: Vec<Value>,
    /// Lengths of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// For each dict and list made so far, how often it was added to.
    changes: Vec<u32>,
}

type Step<T> = Result<T, WeightsError>;

impl<'a> Pass<'a> {
    /// Runs one opcode; `false` at the end of the pickle.
    fn step(&mut self) -> Step<bool> {
        let [op] = self.input.array()?;
        match op {
            // PROTO, FRAME
            0x80 => {
                let [version] = self.input.array()?;
                if !(2..=5).contains(&version) {
                    return Err(self.input.unsupported(format!("pickle protocol {version}")));
                }
            }
            0x95 => {
                let length = self.input.array::<8>().map(u64::from_le_bytes)?;
                self.input.check_length(length)?;
            }
            // NONE, NEWTRUE, NEWFALSE
            b'N' | 0x88 | 0x89 => self.atom(&[op])?,
            // BININT, BININT1, BININT2, BINFLOAT
            b'J' => self.number::<4>(op)?,
            b'K' => self.number::<1>(op)?,
            b'M' => self.number::<2>(op)?,
            b'G' => self.number::<8>(op)?,
            // LONG1
            0x8a => self.long()?,
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, BINSTRING, SHORT_BINSTRING
            b'X' | b'T' => {
                let length = self.input.array().map(u32::from_le_bytes)?;
                self.text(length.into())?;
            }
            0x8c | b'U' => {
                let [length] = self.input.array()?;
                self.text(length.into())?;
            }
            0x8d => {
                let length = self.input.array().map(u64::from_le_bytes)?;
                self.text(length)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let module = self.input.line()?;
                let name = self.input.line()?;
                self.global(module, name)?;
            }
            0x93 => self.stack_global()?,
            // EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE
            b'}' => self.container(Kind::dict, op)?,
            b']' => self.container(Kind::list, op)?,
            b')' => self.tuple(op, 0)?,
            // MARK, TUPLE, TUPLE1, TUPLE2, TUPLE3
            b'(' => {
                if self.marks.len() >= MAX_DEPTH as usize {
                    return Err(self.too_deep());
                }
                self.marks.push(self.stack.len());
                self.write(&[op])?;
            }
            b't' => {
                let count = self.close_mark()?;
                self.tuple(op, count)?;
            }
            0x85..=0x87 => self.tuple(op, usize::from(op - 0x84))?,
            // APPEND, APPENDS, SETITEM, SETITEMS
            b'a' => self.fill(op, 1)?,
            b'e' => {
                let count = self.close_mark()?;
                self.fill(op, count)?;
            }
            b's' => self.fill(op, 2)?,
            b'u' => {
                let count = self.close_mark()?;
                self.fill(op, count)?;
            }
            b'R' => self.call()?,
            b'b' => self.build()?,
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                self.push(Kind::Other, id.cost, id.depth + 1)?;
                self.write(&[op])?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => {
                let [slot] = self.input.array()?;
                self.put(slot.into())?;
            }
            b'r' => {
                let slot = self.input.array().map(u32::from_le_bytes)?;
                self.put(slot)?;
            }
            // Slots are at most as many as the input has bytes.
            0x94 => self.put(self.memo.len() as u32)?,
            // BINGET, LONG_BINGET
            b'h' => {
                let [slot] = self.input.array()?;
                self.get(slot.into())?;
            }
            b'j' => {
                let slot = self.input.array().map(u32::from_le_bytes)?;
                self.get(slot)?;
            }
            // STOP
            b'.' => {
                if self.stack.len() != 1 || !self.marks.is_empty() {
                    return Err(self.input.damaged("it ends with unfinished values"));
                }
                self.write(&[op])?;
                return Ok(false);
            }
            _ => return Err(self.input.unsupported(format!("pickle opcode {op:#04x}"))),
        }
        Ok(true)
    }

    fn too_deep(&self) -> WeightsError {
        self.input
            .too_large("the nesting of values in the pickle", MAX_DEPTH.into())
    }

    // Stack and output

    fn spend(&mut self, cost: u64) -> Step<()> {
        self.work = self.work.saturating_add(cost);
        if self.work > MAX_WORK {
            return Err(self
                .input
                .too_large("what the pickle expands to, in bytes,", MAX_WORK));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Step<()> {
        self.spend(bytes.len() as u64)?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn push(&mut self, kind: Kind, content_cost: u64, depth: u32) -> Step<()> {
        if depth > MAX_DEPTH {
            return Err(self.too_deep());
        }
        let cost = content_cost.saturating_add(VALUE_COST);
        self.spend(VALUE_COST)?;
        self.stack.push(Value { kind, cost, depth });
        Ok(())
    }

    /// Takes the top value, which must be above the last open mark.
    fn pop(&mut self) -> Step<Value> {
        if self.stack.len() > self.marks.last().copied().unwrap_or(0)
            && let Some(value) = self.stack.pop()
        {
            return Ok(value);
        }
        Err(self.input.damaged("it uses a value that is not there"))
    }

    /// Takes the top `count` values: their cost and depth together.
    fn pop_all(&mut self, count: usize) -> Step<(u64, u32)> {
        let (mut cost, mut depth) = (0u64, 0);
        for _ in 0..count {
            let value = self.pop()?;
            cost = cost.saturating_add(value.cost);
            depth = depth.max(value.depth);
        }
        Ok((cost, depth))
    }

    /// Closes the last mark: how many values are above it.
    fn close_mark(&mut self) -> Step<usize> {
        match self.marks.pop() {
            // `pop` never goes below the last mark.
            Some(mark) => Ok(self.stack.len() - mark),
            None => Err(self.input.damaged("it closes a group that it did not open")),
        }
    }

    // Opcodes

    fn atom(&mut self, code: &[u8]) -> Step<()> {
        self.push(Kind::Other, 0, 1)?;
        self.write(code)
    }

    fn number<const N: usize>(&mut self, op: u8) -> Step<()> {
        let value = self.input.array::<N>()?;
        self.atom(&[op])?;
        self.write(&value)
    }

    fn long(&mut self) -> Step<()> {
        let [length] = self.input.array()?;
        let bytes = self.input.take(length.into())?;
        if bytes.len() > 8 {
            return Err(self
                .input
                .unsupported("an integer of more than 64 bits".to_owned()));
        }
        let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) {
            0xff
        } else {
            0
        };
        let mut extended = [sign; 8];
        extended[..bytes.len()].copy_from_slice(bytes);
        self.atom(&[0x8a, 8])?;
        self.write(&extended)
    }

    fn text(&mut self, length: u64) -> Step<()> {
        let from = self.input.pos();
        let text = self.input.take(length)?;
        if std::str::from_utf8(text).is_err() {
            return Err(self.input.damaged("it has a string that is not UTF-8"));
        }
        self.write_text(from, text.len())
    }

    fn write_text(&mut self, from: usize, len: usize) -> Step<()> {
        let at = self.out.len();
        let text = self.input.again(from, len);
        // Twice: once in the output, once in the value.
        self.push(Kind::Text { from, len, at }, len as u64, 1)?;
        self.spend(len as u64)?;
        // Shorter than `MAX_PICKLE`, so the length fits.
        self.write(b"X")?;
        self.write(&(len as u32).to_le_bytes())?;
        self.write(text)
    }

    fn global(&mut self, module: &[u8], name: &[u8]) -> Step<()> {
        match globals::find(module, name) {
            Some(global) => self.write_global(global),
            None => Err(self.input.foreign(module, name)),
        }
    }

    fn write_global(&mut self, global: &'static Global) -> Step<()> {
        let at = self.out.len();
        let code = format!("c{}\n{}\n", global.module, global.name);
        self.push(Kind::Global { global, at }, code.len() as u64, 1)?;
        self.spend(code.len() as u64)?;
        self.write(code.as_bytes())
    }

    fn stack_global(&mut self) -> Step<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        if let Kind::Text { from, len, at } = module.kind
            && let Kind::Text {
                from: name_from,
                len: name_len,
                at: name_at,
            } = name.kind
            // The two strings, with an opcode and four bytes of length each, end the output.
            && name_at == at + 5 + len
            && self.out.len() == name_at + 5 + name_len
        {
            self.out.truncate(at);
            let (module, name) = (
                self.input.again(from, len),
                self.input.again(name_from, name_len),
            );
            return self.global(module, name);
        }
        Err(self
            .input
            .unsupported("a global whose name is computed".to_owned()))
    }

    fn container(&mut self, kind: fn(usize) -> Kind, op: u8) -> Step<()> {
        self.changes.push(0);
        self.push(kind(self.changes.len() - 1), 0, 1)?;
        self.write(&[op])
    }

    fn tuple(&mut self, op: u8, count: usize) -> Step<()> {
        let (cost, depth) = self.pop_all(count)?;
        self.push(Kind::Tuple { empty: count == 0 }, cost, depth + 1)?;
        self.write(&[op])
    }

    /// Adds the top `count` values to the dict or list below them.
    fn fill(&mut self, op: u8, count: usize) -> Step<()> {
        let (cost, depth) = self.pop_all(count)?;
        let target = self.pop()?;
        let (id, fits) = match target.kind {
            Kind::List { id, .. } => (id, matches!(op, b'a' | b'e')),
            Kind::Dict { id, .. } => (id, matches!(op, b's' | b'u') && count.is_multiple_of(2)),
            _ => (0, false),
        };
        if !fits {
            return Err(self
                .input
                .damaged("it adds to a value that does not take that"));
        }
        if count == 0 {
            self.stack.push(target);
            return self.write(&[op]);
        }
        let kind = self.change(target.kind, id)?;
        self.push(
            kind,
            target.cost.saturating_add(cost),
            target.depth.max(depth + 1),
        )?;
        self.write(&[op])
    }

    /// Notes that a dict or list is added to. A copy from the memo must not be: in Python that
    /// would change the original too.
    fn change(&mut self, kind: Kind, id: usize) -> Step<Kind> {
        let Some(changes) = self.changes.get_mut(id) else {
            return Ok(kind);
        };
        match kind {
            Kind::Dict { changes: c, .. } | Kind::List { changes: c, .. } if c == *changes => {
                // Fewer changes than the input has bytes.
                *changes += 1;
                Ok(kind.changed(*changes))
            }
            _ => Err(self.shared()),
        }
    }

    fn shared(&self) -> WeightsError {
        self.input
            .unsupported("the same dict or list is used in two places".to_owned())
    }

    fn call(&mut self) -> Step<()> {
        let (args, callable) = (self.pop()?, self.pop()?);
        let (Kind::Global { global, at }, Kind::Tuple { empty }) = (callable.kind, args.kind)
        else {
            return Err(self
                .input
                .damaged("it calls something that is not a function"));
        };
        if !global.callable {
            let (module, name) = (global.module.as_bytes(), global.name.as_bytes());
            return Err(self.input.foreign(module, name));
        }
        if *global == ORDERED_DICT && empty {
            return self.container(Kind::dict, b'R');
        }
        if *global == ORDERED_DICT {
            // Skips the opcode, the module and the newline.
            let name = at + 1 + global.module.len() + 1;
            if let Some(written) = self.out.get_mut(name..name + ORDERED_ITEMS.len()) {
                written.copy_from_slice(ORDERED_ITEMS.as_bytes());
            }
        }
        let cost = callable.cost.saturating_add(args.cost);
        self.push(Kind::Other, cost, args.depth + 1)?;
        self.write(b"R")
    }

    /// Sets attributes. Only an `OrderedDict` has any (`_metadata`); Candle merges them into it.
    fn build(&mut self) -> Step<()> {
        let (state, object) = (self.pop()?, self.pop()?);
        let cost = state.cost.saturating_add(object.cost);
        let depth = object.depth.max(state.depth) + 1;
        let kind = match (object.kind, state.kind) {
            (kind @ Kind::Dict { id, .. }, Kind::Dict { .. }) => self.change(kind, id)?,
            (Kind::Other, Kind::Dict { .. }) => Kind::Other,
            _ => {
                return Err(self
                    .input
                    .unsupported("an object with a state of its own".to_owned()));
            }
        };
        self.push(kind, cost, depth)?;
        self.write(b"b")
    }

    fn put(&mut self, slot: u32) -> Step<()> {
        let Some(&value) = self.stack.last() else {
            return Err(self.input.damaged("it keeps a value that is not there"));
        };
        if self.marks.last() == Some(&self.stack.len()) {
            return Err(self.input.damaged("it keeps a value that is not there"));
        }
        self.memo.insert(slot, value);
        match value.kind {
            Kind::Text { .. } | Kind::Global { .. } => Ok(()),
            _ => {
                self.spend(value.cost)?;
                self.write(b"r")?;
                self.write(&slot.to_le_bytes())
            }
        }
    }

    fn get(&mut self, slot: u32) -> Step<()> {
        let Some(&value) = self.memo.get(&slot) else {
            return Err(self
                .input
                .damaged("it fetches a value that it did not keep"));
        };
        match value.kind {
            Kind::Text { from, len, .. } => return self.write_text(from, len),
            Kind::Global { global, .. } => return self.write_global(global),
            Kind::Dict { id, changes } | Kind::List { id, changes }
                if self.changes.get(id) != Some(&changes) =>
            {
                return Err(self.shared());
            }
            _ => {}
        }
        self.spend(value.cost)?;
        self.stack.push(Value {
            kind: value.kind.fetched(),
            ..value
        });
        self.write(b"j")?;
        self.write(&slot.to_le_bytes())
    }
}
