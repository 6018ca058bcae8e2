//! The same operations on the CPU in f64, in plain loops: the yardstick of every kernel. Knows nothing of the GPU.
