//! Label sets: what the classes are called.
