//! The one table of all shaders: name, text and bindings. A kernel's CPU reference has the same name in [`crate::reference`].

use crate::gpu::{
    Binding::{Read, Uniform, Write},
    Shader, Shared,
};

macro_rules! shaders {
    ($($constant:ident = $name:literal [$($binding:ident),*];)*) => {
        $(
            #[doc = concat!("`shaders/", $name, ".wgsl`")]
            pub(crate) static $constant: Shader = Shader {
                name: $name,
                text: include_str!(concat!("../../shaders/", $name, ".wgsl")),
                bindings: &[$($binding),*],
            };
        )*
        /// Every shader of the crate.
        pub static SHADERS: &[&Shader] = &[$(&$constant),*];
    };
}

shaders! {
    DOT_PRODUCT_ATTENTION = "dot_product_attention" [Uniform, Read, Read, Read, Read, Write, Write];
    DOT_PRODUCT_ATTENTION_DELTA_BACKWARD = "dot_product_attention_delta_backward" [Uniform, Read, Read, Read, Write];
    DOT_PRODUCT_ATTENTION_BACKWARD =
        "dot_product_attention_backward" [Uniform, Read, Read, Read, Read, Read, Read, Write, Write];
    MATMUL = "matmul" [Uniform, Read, Read, Read, Write];
}

macro_rules! shared {
    ($($name:literal),* $(,)?) => {
        /// What shaders import.
        pub static SHARED: &[Shared] = &[
            $(Shared { name: $name, text: include_str!(concat!("../../shaders/shared/", $name, ".wgsl")) }),*
        ];
    };
}

shared!["attention_tiles", "math", "random", "step"];
