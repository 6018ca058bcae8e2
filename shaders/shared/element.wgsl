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
// sizes, strides and offsets are multiples of 4, and 16-byte loads serve.
#ifdef VECTOR
alias Element = element4;
alias Single = vec4f;
const WIDTH = 4u;
#else
alias Element = element;
alias Single = f32;
const WIDTH = 1u;
#endif
