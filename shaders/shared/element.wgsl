// An element of an activation: f16 under HALF. Shaders compute in f32 all the same: f32(x), vec4f(x) where they load, element(y),
// element4(y) where they store, and without HALF that is nothing.
#ifdef HALF
alias element = f16;
alias element4 = vec4<f16>;
#else
alias element = f32;
alias element4 = vec4f;
#endif

// What a binding of activations is an array of, and one that is f32 whatever activations are. VECTOR: four elements at once, for
// sizes, strides and offsets are multiples of 4, and 16-byte loads serve. WORDS: the same in 64-bit words, where all is f32.
#ifdef VECTOR
#ifdef WORDS
#import words
alias Element = vec2<u64>;
alias Single = vec2<u64>;
#else
alias Element = element4;
alias Single = vec4f;
#endif
const WIDTH = 4u;
#else
alias Element = element;
alias Single = f32;
const WIDTH = 1u;
#endif

// What one is computed with.
#ifdef VECTOR
alias Value = vec4f;
#else
alias Value = f32;
#endif
#ifdef WORDS
fn value_of(x: Element) -> Value { return unpacked(x); }
fn element_of(x: Value) -> Element { return packed(x); }
fn value_of_single(x: Single) -> Value { return unpacked(x); }
fn single_of(x: Value) -> Single { return packed(x); }
#else
fn value_of(x: Element) -> Value { return Value(x); }
fn element_of(x: Value) -> Element { return Element(x); }
fn value_of_single(x: Single) -> Value { return x; }
fn single_of(x: Value) -> Single { return x; }
#endif
