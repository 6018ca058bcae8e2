//! Whole models against references and golden cases: a process of their own, for a CPU driver keeps the code of every kernel that one
//! has compiled.

#[path = "../suite/common/mod.rs"]
mod common;

mod adaptive_span;
mod bert;
mod convs2s;
mod gpt2;
mod long_text;
mod luong;
mod reformer;
mod sutskever;
mod t5;
mod transformer;
mod transformer_xl;
