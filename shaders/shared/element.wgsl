// An element of an activation: f16 under HALF. Shaders compute in f32 all the same: f32(x), vec4f(x) where they load, element(y),
// element4(y) where they store, and without HALF that is nothing.
#ifdef HALF
alias element = f16;
alias element4 = vec4<f16>;
#else
alias element = f32;
alias element4 = vec4f;
#endif
