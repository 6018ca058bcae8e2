// The type of one element of BINDING: f16 under HALF_BINDING.
#ifdef HALF_BINDING
alias One_BINDING = f16;
#else
alias One_BINDING = f32;
#endif
