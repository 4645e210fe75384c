//! An abstract pickle machine: it runs a pickle without Python.
//!
//! A pickle is a program for a small stack machine. Every opcode of protocols 0 to 5 is known here.
//! Plain values are built as Python builds them, shared where Python shares them, and the few PyTorch
//! functions that make a tensor from a storage are known by name ([`tensor`]). Nothing is imported or
//! called: the result of any other class or function is an opaque object, whose arguments, state and
//! items are read and dropped.
//!
//! The work is linear in the pickle's length, and [`MAX_MEMORY`] bounds the memory. Nothing here is
//! recursive.

mod input;
mod scalar;
mod tensor;
mod value;

use std::collections::HashMap;

use input::Input;
use tensor::Known;
pub(super) use tensor::{Problem, Storage, Tensor};
use value::Class;
pub(super) use value::{Heap, MAX_MEMORY, Span, Value};

use super::WeightsError;

/// What a pickle describes.
pub(super) struct Pickle<'a> {
    pub(super) root: Value,
    pub(super) heap: Heap<'a>,
    /// Where the pickle ends in the input.
    pub(super) end: usize,
}

/// Runs the pickle at the beginning of `bytes` in `memory` bytes.
///
/// # Errors
/// [`WeightsError::TooLarge`], [`WeightsError::Unsupported`] and, where the pickle is cut short or
/// contradicts itself, [`WeightsError::Damaged`].
pub(super) fn run<'a>(
    file: &'a str,
    bytes: &'a [u8],
    memory: usize,
) -> Result<Pickle<'a>, WeightsError> {
    let input = Input::new(file, bytes);
    let mut machine = Machine {
        heap: Heap::new(file, input.bytes(), memory),
        input,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        kept: 0,
        storage_keys: HashMap::new(),
    };
    machine.name_built_ins()?;
    loop {
        if let Some(root) = machine.step()? {
            return Ok(Pickle {
                root,
                heap: machine.heap,
                end: machine.input.pos(),
            });
        }
    }
}

// The classes that opcodes mean without naming them, in the order of `name_built_ins`.
const SET: Value = Value::Object(0);
const FROZEN_SET: Value = Value::Object(1);
const EXTENSION: Value = Value::Object(2);
/// A persistent id that is text.
const TEXT_ID: Value = Value::Object(3);

struct Machine<'a> {
    input: Input<'a>,
    heap: Heap<'a>,
    stack: Vec<Value>,
    /// Lengths of the stack at each open mark.
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    /// Number of values in the memo.
    kept: usize,
    /// The number of a storage by its key.
    storage_keys: HashMap<Vec<u8>, u32>,
}

type Step<T> = Result<T, WeightsError>;

impl<'a> Machine<'a> {
    fn name_built_ins(&mut self) -> Step<()> {
        for (module, name) in [
            ("builtins", "set"),
            ("builtins", "frozenset"),
            ("copyreg", "extension"),
            ("pickle", "persistent_id"),
        ] {
            let [module, name] = [module, name].map(|text| self.decoded(text.bytes()));
            let class = Class {
                module: module?,
                name: name?,
            };
            self.heap.budget.push(&mut self.heap.classes, class)?;
        }
        Ok(())
    }

    /// Runs one opcode; the pickle's value at its end.
    fn step(&mut self) -> Step<Option<Value>> {
        let [op] = self.input.array()?;
        match op {
            // PROTO, FRAME
            0x80 => {
                let [version] = self.input.array()?;
                if version > 5 {
                    return Err(self.input.unsupported(format!("pickle protocol {version}")));
                }
            }
            0x95 => {
                let length = self.length(op)?;
                self.input.check_length(length)?;
            }
            // STOP
            b'.' => {
                let root = self.pop()?;
                if !self.stack.is_empty() || !self.marks.is_empty() {
                    return Err(self
                        .input
                        .damaged("it ends with values or marks left on its stack"));
                }
                return Ok(Some(root));
            }
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            // INT, LONG, BININT, BININT1, BININT2, LONG1, LONG4, FLOAT, BINFLOAT
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'F' | b'G' => {
                let number = self.number(op)?;
                self.push(number)?;
            }
            // UNICODE, BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, STRING, BINSTRING, SHORT_BINSTRING
            b'V' | b'X' | 0x8c | 0x8d | b'S' | b'T' | b'U' => {
                let text = self.text(op)?;
                self.push(text)?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' | b'C' | 0x8e | 0x96 => {
                let length = self.length(op)?;
                self.input.span(length)?;
                self.push(Value::Bytes)?;
            }
            // NEXT_BUFFER, READONLY_BUFFER
            0x97 | 0x98 => {
                let problem = "its pickle refers to data outside of it (out-of-band buffers)";
                return Err(self.input.unsupported(problem.to_owned()));
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, EMPTY_LIST, EMPTY_DICT, EMPTY_SET
            b')' => self.tuple(0)?,
            0x85..=0x87 => self.tuple(usize::from(op - 0x84))?,
            b']' => self.list(0)?,
            b'}' => self.dict(0)?,
            0x8f => self.push(SET)?,
            // APPEND, SETITEM
            b'a' => self.append(1)?,
            b's' => self.set_items(2)?,
            // MARK, and what takes all values from it on
            b'(' => self.heap.budget.push(&mut self.marks, self.stack.len())?,
            b't' | b'l' | b'd' | b'e' | b'u' | 0x90 | 0x91 | b'1' => {
                let count = self.close_mark()?;
                self.grouped(op, count)?;
            }
            // POP, DUP
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            // PUT, BINPUT, LONG_BINPUT, MEMOIZE, GET, BINGET, LONG_BINGET
            b'p' | b'q' | b'r' => {
                let slot = self.length(op)?;
                self.put(slot)?;
            }
            0x94 => self.put(self.kept as u64)?,
            b'g' | b'h' | b'j' => {
                let slot = self.length(op)?;
                self.get(slot)?;
            }
            // GLOBAL, STACK_GLOBAL, EXT1, EXT2, EXT4
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.class(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(self.input.damaged("a class name is not a string"));
                };
                self.class(module, name)?;
            }
            0x82..=0x84 => {
                self.input.take(1 << (op - 0x82))?;
                self.push(EXTENSION)?;
            }
            // REDUCE, INST, OBJ
            b'R' => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                let Value::Tuple(arguments) = arguments else {
                    return Err(self
                        .input
                        .damaged("the arguments of a call are not a tuple"));
                };
                self.call(callee, arguments)?;
            }
            b'i' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let count = self.close_mark()?;
                self.tuple(count)?;
                let arguments = self.pop()?;
                self.class(module, name)?;
                let class = self.pop()?;
                self.instance(class, arguments)?;
            }
            b'o' => {
                let count = self.close_mark()?;
                let Some(count) = count.checked_sub(1) else {
                    return Err(self.missing());
                };
                self.tuple(count)?;
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.instance(class, arguments)?;
            }
            // NEWOBJ, NEWOBJ_EX
            0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.instance(class, arguments)?;
            }
            0x92 => {
                let (_keywords, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.instance(class, arguments)?;
            }
            // BUILD
            b'b' => self.build()?,
            // PERSID, BINPERSID
            b'P' => {
                self.line()?;
                self.push(TEXT_ID)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage)?;
            }
            _ => {
                let problem = format!("{op:#04x} is not an opcode");
                return Err(self.input.damaged(&problem));
            }
        }
        Ok(None)
    }

    // The stack

    fn push(&mut self, value: Value) -> Step<()> {
        self.heap.budget.push(&mut self.stack, value)
    }

    /// Height of the stack at the last open mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn missing(&self) -> WeightsError {
        self.input.damaged("a value is missing from its stack")
    }

    fn misplaced(&self) -> WeightsError {
        self.input
            .damaged("it adds items to a value of the wrong type")
    }

    fn top(&self) -> Step<Value> {
        match self.stack.last() {
            Some(&value) if self.stack.len() > self.floor() => Ok(value),
            _ => Err(self.missing()),
        }
    }

    fn pop(&mut self) -> Step<Value> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    /// Closes the last mark; returns how many values are above it.
    fn close_mark(&mut self) -> Step<usize> {
        match self.marks.pop() {
            // `pop` never goes below the last mark.
            Some(mark) => Ok(self.stack.len() - mark),
            None => Err(self.input.damaged("a mark is missing from its stack")),
        }
    }

    /// Where the top `count` values begin.
    fn top_values(&self, count: usize) -> Step<usize> {
        let start = self.stack.len().checked_sub(count);
        start
            .filter(|start| *start >= self.floor())
            .ok_or_else(|| self.missing())
    }

    fn drop_values(&mut self, count: usize) -> Step<()> {
        let start = self.top_values(count)?;
        self.stack.truncate(start);
        Ok(())
    }

    // Containers

    fn tuple(&mut self, count: usize) -> Step<()> {
        let start = self.top_values(count)?;
        let tuples = &mut self.heap.tuples;
        self.heap.budget.reserve(tuples, count)?;
        // Fewer than `MAX_MEMORY`.
        let span = Span {
            at: tuples.len() as u32,
            len: count as u32,
        };
        tuples.extend(self.stack.drain(start..));
        self.push(Value::Tuple(span))
    }

    fn list(&mut self, count: usize) -> Step<()> {
        let start = self.top_values(count)?;
        let mut list = Vec::new();
        self.heap.budget.reserve(&mut list, count)?;
        list.extend(self.stack.drain(start..));
        let id = self.heap.lists.len() as u32;
        self.heap.budget.push(&mut self.heap.lists, list)?;
        self.push(Value::List(id))
    }

    fn dict(&mut self, count: usize) -> Step<()> {
        let start = self.top_values(count)?;
        let id = self.new_dict()?;
        self.stack.insert(start, Value::Dict(id));
        self.set_items(count)
    }

    fn new_dict(&mut self) -> Step<u32> {
        let id = self.heap.dicts.len() as u32;
        self.heap.budget.push(&mut self.heap.dicts, Vec::new())?;
        // The stack may grow by one.
        self.heap.budget.reserve(&mut self.stack, 1)?;
        Ok(id)
    }

    /// Adds the top `count` values to the list below them.
    fn append(&mut self, count: usize) -> Step<()> {
        let start = self.top_values(count)?;
        let target = start.checked_sub(1).filter(|at| *at >= self.floor());
        let target = target.ok_or_else(|| self.missing())?;
        match self.stack[target] {
            Value::List(id) => {
                let list = &mut self.heap.lists[id as usize];
                self.heap.budget.reserve(list, count)?;
                list.extend(self.stack.drain(start..));
            }
            Value::Object(_) => self.stack.truncate(start),
            _ => return Err(self.misplaced()),
        }
        Ok(())
    }

    /// Sets the top `count` values, keys and values in turn, in the dict below them.
    fn set_items(&mut self, count: usize) -> Step<()> {
        let start = self.top_values(count)?;
        let target = start.checked_sub(1).filter(|at| *at >= self.floor());
        let target = target.ok_or_else(|| self.missing())?;
        match self.stack[target] {
            _ if !count.is_multiple_of(2) => return Err(self.misplaced()),
            Value::Dict(id) => {
                let dict = &mut self.heap.dicts[id as usize];
                self.heap.budget.reserve(dict, count / 2)?;
                let pairs = self.stack[start..].chunks_exact(2);
                dict.extend(pairs.map(|pair| (pair[0], pair[1])));
                self.stack.truncate(start);
            }
            Value::Object(_) => self.stack.truncate(start),
            _ => return Err(self.misplaced()),
        }
        Ok(())
    }

    /// What the values above a mark, the top `count` ones, are for.
    fn grouped(&mut self, op: u8, count: usize) -> Step<()> {
        match op {
            // TUPLE, LIST, DICT, APPENDS, SETITEMS, ADDITEMS
            b't' => self.tuple(count),
            b'l' => self.list(count),
            b'd' => self.dict(count),
            b'e' => self.append(count),
            b'u' => self.set_items(count),
            0x90 => {
                self.drop_values(count)?;
                match self.top()? {
                    Value::Object(_) => Ok(()),
                    _ => Err(self.misplaced()),
                }
            }
            // FROZENSET, POP_MARK
            0x91 => {
                self.drop_values(count)?;
                self.push(FROZEN_SET)
            }
            _ => self.drop_values(count),
        }
    }

    // The memo

    fn put(&mut self, slot: u64) -> Step<()> {
        let value = self.top()?;
        let slot = usize::try_from(slot).unwrap_or(usize::MAX);
        if slot >= self.memo.len() {
            let more = (slot - self.memo.len()).saturating_add(1);
            self.heap.budget.reserve(&mut self.memo, more)?;
            self.memo.resize(slot + 1, None);
        }
        self.kept += usize::from(self.memo[slot].is_none());
        self.memo[slot] = Some(value);
        Ok(())
    }

    fn get(&mut self, slot: u64) -> Step<()> {
        let slot = usize::try_from(slot).unwrap_or(usize::MAX);
        match self.memo.get(slot) {
            Some(Some(value)) => self.push(*value),
            _ => Err(self
                .input
                .damaged("it reads a memo entry that was never written")),
        }
    }

    // Classes and objects

    fn class(&mut self, module: Span, name: Span) -> Step<()> {
        let id = self.heap.classes.len() as u32;
        let class = Class { module, name };
        self.heap.budget.push(&mut self.heap.classes, class)?;
        self.push(Value::Class(id))
    }

    /// A new object of a class, before its state is set.
    fn instance(&mut self, class: Value, arguments: Value) -> Step<()> {
        let Value::Class(id) = class else {
            return Err(self
                .input
                .damaged("it instantiates something that is not a class"));
        };
        match (self.heap.known(id), arguments) {
            (Some(Known::Dict), _) => {
                let dict = self.new_dict()?;
                self.push(Value::Dict(dict))
            }
            (Some(Known::Parameter), Value::Tuple(arguments)) => self.call(class, arguments),
            _ => self.push(Value::Object(id)),
        }
    }

    /// Sets the state of the object below it. This could change a tensor's values, so such a tensor is
    /// not read.
    fn build(&mut self) -> Step<()> {
        let (_state, object) = (self.pop()?, self.top()?);
        match object {
            Value::Dict(_) | Value::Object(_) | Value::Class(_) => Ok(()),
            Value::Tensor(id) => {
                if let Some(tensor) = self.heap.tensors.get_mut(id as usize) {
                    tensor.problem = Some(Problem::Unsupported(
                        "a tensor whose state is set after it was made",
                    ));
                }
                Ok(())
            }
            _ => Err(self
                .input
                .damaged("it sets the state of a value that has none")),
        }
    }
}
