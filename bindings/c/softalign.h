/* softalign: attention models and kernels on any Vulkan, Metal or DX12 GPU.

   A function that can fail returns a softalign_status; softalign_error() then has the text, until this thread's next call.
   What a function gives through a pointer to a pointer is the caller's, who frees it by the function named for it; frees take
   NULL. Texts are UTF-8. Objects of one device may be used by one thread at a time.

   Made by cbindgen: edit the sources in bindings/c/src. */

#ifndef SOFTALIGN_H
#define SOFTALIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a call has come to.
typedef enum {
  // It did what it says.
  SOFTALIGN_STATUS_OK = 0,
  // An argument, a shape, or data that cannot be used.
  SOFTALIGN_STATUS_INVALID = 1,
  // A file that could not be read.
  SOFTALIGN_STATUS_IO = 2,
  // No adapter could be used.
  SOFTALIGN_STATUS_NO_ADAPTER = 3,
  // The device or the system has no memory left, or a limit that is too low.
  SOFTALIGN_STATUS_MEMORY = 4,
  // The driver failed, or the device is gone.
  SOFTALIGN_STATUS_DEVICE = 5,
  // A fault of softalign's own. What the call was given should be freed and not be used again.
  SOFTALIGN_STATUS_INTERNAL = 6,
} softalign_status;

// An opened device.
typedef struct softalign_gpu softalign_gpu;

// A model with its tokenizers, on a device.
typedef struct softalign_model softalign_model;

// Kernels that are being recorded.
typedef struct softalign_recorder softalign_recorder;

// Recorded kernels, whose order of running is that of recording.
typedef struct softalign_recording softalign_recording;

// 32-bit floats on a device, or lengths.
typedef struct softalign_tensor softalign_tensor;

// A GRU layer over whole rows in the form of cuDNN and PyTorch.
typedef struct {
  // [B, S, I].
  const softalign_tensor *x;
  // The first state, [D, B, H].
  const softalign_tensor *h0;
  // For each of D directions weight_ih [3H, I], weight_hh [3H, H], bias_ih [3H] and bias_hh [3H]; gates in the order r, z, n.
  const softalign_tensor *const *weights;
  // D, 1 or 2.
  size_t directions;
  // The steps of each row that are valid, [B]; all of them for NULL.
  const softalign_tensor *lengths;
  // The state at each step, [B, S, D·H], 0 past a row's length.
  softalign_tensor *states;
  // The last state of each direction, [D, B, H].
  softalign_tensor *last;
} softalign_gru;

// Soft alignment (Bahdanau et al. 2015): `weights` = the softmax over keys of `energy·tanh(query + key)`, `context` = `weights·value`.
typedef struct {
  // Projected, [B, T, A].
  const softalign_tensor *query;
  // Projected, [B, S, A].
  const softalign_tensor *key;
  // [A].
  const softalign_tensor *energy;
  // [B, S, V].
  const softalign_tensor *value;
  // The keys of each row that are valid, [B]; all of them for NULL.
  const softalign_tensor *lengths;
  // [B, T, V].
  softalign_tensor *context;
  // [B, T, S].
  softalign_tensor *weights;
} softalign_additive_attention;

// `context` = `softmax(query·keyᵀ / sqrt(D))·value` of each head (Vaswani et al. 2017).
typedef struct {
  // [B, N, T, D].
  const softalign_tensor *query;
  // [B, N, S, D].
  const softalign_tensor *key;
  // [B, N, S, D].
  const softalign_tensor *value;
  // The keys of each row that are valid, [B]; all of them for NULL.
  const softalign_tensor *lengths;
  // Whether a query sees only keys up to its own position.
  bool causal;
  // [B, N, T, D].
  softalign_tensor *context;
} softalign_dot_product_attention;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Opens the adapter of this index or with this in its name; the best one, or the one that the environment names, for NULL.
softalign_status softalign_open(const char *adapter,
                                softalign_gpu **gpu);

// Frees a device. What was made on it goes on to work, and keeps it open.
void softalign_close(softalign_gpu *gpu);

// Makes a tensor of zeros, with `rank` extents, the slowest first.
softalign_status softalign_tensor_new(const softalign_gpu *gpu,
                                      const size_t *extents,
                                      size_t rank,
                                      softalign_tensor **tensor);

// Makes a tensor of so many lengths, all 0: of each row of a batch, how many of its steps, keys or columns are valid.
softalign_status softalign_lengths_new(const softalign_gpu *gpu, size_t count, softalign_tensor **tensor);

// Frees a tensor. A recording that uses it goes on to work.
void softalign_tensor_free(softalign_tensor *tensor);

// Writes all elements of a tensor, in row-major order.
softalign_status softalign_write(softalign_tensor *tensor, const float *values, size_t count);

// Writes all lengths of a tensor that has them. One past the end of its row counts as that end.
softalign_status softalign_write_lengths(softalign_tensor *tensor, const uint32_t *values, size_t count);

// Reads all elements of a tensor, in row-major order, waiting for what was run before.
softalign_status softalign_read(const softalign_tensor *tensor, float *values, size_t count);

// Loads a model folder, as `softalign train` and `softalign import` write it.
softalign_status softalign_load(const softalign_gpu *gpu, const char *folder, softalign_model **model);

// Frees a model.
void softalign_model_free(softalign_model *model);

// The best text that a search with a beam of this width, 1 to 64, finds for a source; a language model continues it. `score`, which
// may be NULL, is the sum of the tokens' log-probabilities. The text must not be written to, and is
// freed by `softalign_text_free`.
softalign_status softalign_generate(softalign_model *model,
                                    const char *source,
                                    size_t beam,
                                    char **generated,
                                    float *score);

// Frees a text that `softalign_generate` gave.
void softalign_text_free(char *generated);

// The log-probability of a target, its end included, given its source; a language model has an empty one.
softalign_status softalign_score(softalign_model *model,
                                 const char *source,
                                 const char *target,
                                 double *log_probability);

// Begins to record kernels under a name.
softalign_status softalign_record(const softalign_gpu *gpu, const char *name, softalign_recorder **recorder);

// Records `c = a·b`, of `a` [M, K] and `b` [K, N], or [N, K] where `transpose_b`: [M, N].
softalign_status softalign_record_matmul(softalign_recorder *recorder,
                                         const softalign_tensor *a,
                                         const softalign_tensor *b,
                                         bool transpose_b,
                                         softalign_tensor *c);

// Records the softmax `y` of each row of `x`, both [R, C].
softalign_status softalign_record_softmax(softalign_recorder *recorder, const softalign_tensor *x, softalign_tensor *y);

// Records a GRU layer.
softalign_status softalign_record_gru(softalign_recorder *recorder, const softalign_gru *gru);

// Records soft alignment.
softalign_status softalign_record_additive_attention(softalign_recorder *recorder,
                                                     const softalign_additive_attention *attention);

// Records dot-product attention.
softalign_status softalign_record_dot_product_attention(softalign_recorder *recorder,
                                                        const softalign_dot_product_attention *attention);

// Ends a recording, and compiles what the device has not compiled yet. The recorder is freed.
softalign_status softalign_finish(softalign_recorder *recorder, softalign_recording **recording);

// Frees a recorder whose kernels are not wanted.
void softalign_recorder_free(softalign_recorder *recorder);

// Runs a recording, and waits for its end.
softalign_status softalign_run(const softalign_recording *recording);

// Frees a recording.
void softalign_recording_free(softalign_recording *recording);

// The text of this thread's last error; empty where its last call was none. It is valid until the thread's next call.
const char *softalign_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SOFTALIGN_H */
