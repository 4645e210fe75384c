//! The Python objects that a state dict may refer to. Anything else is refused by name.

/// A class or function, as a pickle names it.
#[derive(Debug, PartialEq)]
pub(super) struct Global {
    pub(super) module: &'static str,
    pub(super) name: &'static str,
    /// Whether a state dict calls it; storage classes are only mentioned.
    pub(super) callable: bool,
}

pub(super) static ORDERED_DICT: Global = Global {
    module: "collections",
    name: "OrderedDict",
    callable: true,
};

/// The name that a call of `OrderedDict` with items gets, because Candle takes every call of
/// `OrderedDict` to be empty. It has the same number of letters.
pub(super) const ORDERED_ITEMS: &str = "OrderedList";

/// The module of the functions that make a tensor of a storage.
pub(super) const TORCH_UTILS: &str = "torch._utils";

static FUNCTIONS: [Global; 4] = [
    function("_rebuild_tensor"),
    function("_rebuild_tensor_v2"),
    function("_rebuild_parameter"),
    function("_rebuild_parameter_with_state"),
];

static STORAGES: [Global; 12] = [
    storage("DoubleStorage"),
    storage("FloatStorage"),
    storage("HalfStorage"),
    storage("BFloat16Storage"),
    storage("LongStorage"),
    storage("IntStorage"),
    storage("ShortStorage"),
    storage("CharStorage"),
    storage("ByteStorage"),
    storage("BoolStorage"),
    storage("ComplexFloatStorage"),
    storage("ComplexDoubleStorage"),
];

const fn function(name: &'static str) -> Global {
    Global {
        module: TORCH_UTILS,
        name,
        callable: true,
    }
}

const fn storage(name: &'static str) -> Global {
    Global {
        module: "torch",
        name,
        callable: false,
    }
}

/// The known object of that name.
pub(super) fn find(module: &[u8], name: &[u8]) -> Option<&'static Global> {
    std::iter::once(&ORDERED_DICT)
        .chain(&FUNCTIONS)
        .chain(&STORAGES)
        .find(|known| known.module.as_bytes() == module && known.name.as_bytes() == name)
}
