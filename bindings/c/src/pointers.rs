//! What C passes by pointers. Each of these takes NULL for an argument that is missing; any other pointer must be what the header says.

use std::ffi::{CStr, c_char};

use softalign::{Error, Result};

fn wrong(argument: &'static str, wanted: &str, got: &str) -> Error {
    Error::Shape { operation: "softalign", argument, wanted: wanted.into(), got: got.into() }
}

/// An object that this library gave out, or NULL.
pub unsafe fn object<'a, T>(pointer: *const T, argument: &'static str) -> Result<&'a T> {
    unsafe { pointer.as_ref() }.ok_or_else(|| wrong(argument, "an object", "NULL"))
}

/// The same, to be changed.
pub unsafe fn object_mut<'a, T>(pointer: *mut T, argument: &'static str) -> Result<&'a mut T> {
    unsafe { pointer.as_mut() }.ok_or_else(|| wrong(argument, "an object", "NULL"))
}

/// A text that ends with a zero, or NULL.
pub unsafe fn text<'a>(pointer: *const c_char, argument: &'static str) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(wrong(argument, "a text", "NULL"));
    }
    unsafe { CStr::from_ptr(pointer) }.to_str().map_err(|_| wrong(argument, "a text in UTF-8", "other bytes"))
}

/// So many numbers, or NULL.
pub unsafe fn numbers<'a, T>(pointer: *const T, count: usize, argument: &'static str) -> Result<&'a [T]> {
    match (pointer.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(wrong(argument, &format!("{count} numbers"), "NULL")),
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(pointer, count) }),
    }
}

/// Room for so many numbers, or NULL.
pub unsafe fn room<'a, T>(pointer: *mut T, count: usize, argument: &'static str) -> Result<&'a mut [T]> {
    match (pointer.is_null(), count) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(wrong(argument, &format!("room for {count} numbers"), "NULL")),
        (false, _) => Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) }),
    }
}

/// Gives the caller an object of its own.
pub unsafe fn give<T>(place: *mut *mut T, made: impl FnOnce() -> Result<T>) -> Result<()> {
    let place = unsafe { object_mut(place, "the place of the result") }?;
    *place = Box::into_raw(Box::new(made()?));
    Ok(())
}

/// Takes back an object that was given, or NULL.
pub unsafe fn take<T>(pointer: *mut T) -> Option<Box<T>> {
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}
