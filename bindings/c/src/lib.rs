//! The C door: functions of `softalign.h`, which is made from these sources. They check pointers, turn errors into codes with a text,
//! and hold no logic.
#![allow(unsafe_code, reason = "what a C program passes are pointers; each function says what they must be")]
#![allow(clippy::missing_safety_doc, reason = "the header says for all of them what pointers must be")]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod device;
mod model;
mod pointers;
mod recorder;
mod status;
