/* The C door, end to end: kernels on tensors, a model folder (the program's argument), and errors. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softalign.h"

/* Drivers stay loaded to the end: what they keep in variables of their own is then no leak. */
int dlclose(void *library);
int dlclose(void *library) {
    (void)library;
    return 0;
}

#define OK(call) check((call) == SOFTALIGN_STATUS_OK, #call, __LINE__)
#define HOLDS(condition) check((condition), #condition, __LINE__)
#define REFUSED(call, text) \
    check((call) == SOFTALIGN_STATUS_INVALID && strcmp(softalign_error(), (text)) == 0, #call, __LINE__)

static void check(int holds, const char *what, int line) {
    if (!holds) {
        fprintf(stderr, "door.c:%d: %s: %s\n", line, what, softalign_error());
        exit(1);
    }
}

/* softmax(a·bᵀ), recorded once and run twice. */
static void kernels(const softalign_gpu *gpu) {
    enum { M = 3, N = 5, K = 4 };
    const size_t a_extents[] = {M, K}, b_extents[] = {N, K}, c_extents[] = {M, N}, d_extents[] = {K, K};
    softalign_tensor *a, *b, *c, *d, *y;
    OK(softalign_tensor_new(gpu, a_extents, 2, &a));
    OK(softalign_tensor_new(gpu, b_extents, 2, &b));
    OK(softalign_tensor_new(gpu, c_extents, 2, &c));
    OK(softalign_tensor_new(gpu, d_extents, 2, &d));
    OK(softalign_tensor_new(gpu, c_extents, 2, &y));

    softalign_recorder *recorder;
    softalign_recording *recording;
    OK(softalign_record(gpu, "softmax of a product", &recorder));
    OK(softalign_record_matmul(recorder, a, b, true, c));
    OK(softalign_record_softmax(recorder, c, y));
    REFUSED(softalign_record_matmul(recorder, a, b, false, c), "matmul: b: wanted [4, 5], got [5, 4]");
    REFUSED(softalign_record_matmul(recorder, a, a, true, c), "matmul: b: wanted [5, 4], got [3, 4]");
    REFUSED(softalign_record_matmul(recorder, a, c, true, b), "matmul: b: wanted [4, 4], got [3, 5]");
    REFUSED(softalign_record_matmul(recorder, a, d, true, d), "matmul: c: wanted [3, 4], got [4, 4]");
    REFUSED(softalign_record_softmax(recorder, a, y), "softmax: y: wanted [3, 4], got [3, 5]");
    REFUSED(softalign_record_softmax(recorder, a, d), "softmax: y: wanted [3, 4], got [4, 4]");
    OK(softalign_finish(recorder, &recording));
    /* What it uses, it keeps. */
    softalign_tensor_free(c);

    for (int run = 0; run < 2; run++) {
        float a_values[M * K], b_values[N * K], found[M * N];
        for (int i = 0; i < M * K; i++) a_values[i] = sinf((float)(i + run));
        for (int i = 0; i < N * K; i++) b_values[i] = cosf((float)(2 * i - run));
        OK(softalign_write(a, a_values, M * K));
        OK(softalign_write(b, b_values, N * K));
        OK(softalign_run(recording));
        OK(softalign_read(y, found, M * N));
        for (int m = 0; m < M; m++) {
            double products[N], sum = 0;
            for (int n = 0; n < N; n++) {
                products[n] = 0;
                for (int k = 0; k < K; k++) products[n] += (double)a_values[m * K + k] * b_values[n * K + k];
                sum += exp(products[n]);
            }
            for (int n = 0; n < N; n++) HOLDS(fabs(found[m * N + n] - exp(products[n]) / sum) < 1e-5);
        }
    }
    float few[2];
    HOLDS(softalign_write(a, few, 0) == SOFTALIGN_STATUS_INVALID);
    HOLDS(softalign_read(y, few, 2) == SOFTALIGN_STATUS_INVALID);
    HOLDS(softalign_read(y, NULL, M * N) == SOFTALIGN_STATUS_INVALID);
    softalign_recording_free(recording);
    softalign_tensor_free(a);
    softalign_tensor_free(b);
    softalign_tensor_free(d);
    softalign_tensor_free(y);
}

/* A tensor of up to four extents, filled with numbers from a seed; and the same numbers. */
static softalign_tensor *made(const softalign_gpu *gpu, const size_t *extents, size_t rank, float *values, float seed) {
    softalign_tensor *tensor;
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) count *= extents[i];
    for (size_t i = 0; i < count; i++) values[i] = sinf(seed + 0.7F * (float)i);
    OK(softalign_tensor_new(gpu, extents, rank, &tensor));
    OK(softalign_write(tensor, values, count));
    return tensor;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

enum { B = 2, T = 2, S = 3, I = 2, H = 3, A = 4 };
static const uint32_t LENGTHS[B] = {3, 2};

/* One direction of a GRU over rows of unlike lengths. */
static void gru(const softalign_gpu *gpu, const softalign_tensor *lengths) {
    float x[B * S * I], h0[B * H], w_ih[3 * H * I], w_hh[3 * H * H], b_ih[3 * H], b_hh[3 * H], found[B * S * H], ends[B * H];
    softalign_tensor *weights[] = {
        made(gpu, (const size_t[]){3 * H, I}, 2, w_ih, 3),
        made(gpu, (const size_t[]){3 * H, H}, 2, w_hh, 4),
        made(gpu, (const size_t[]){3 * H}, 1, b_ih, 5),
        made(gpu, (const size_t[]){3 * H}, 1, b_hh, 6),
    };
    softalign_tensor *in = made(gpu, (const size_t[]){B, S, I}, 3, x, 1);
    softalign_tensor *first = made(gpu, (const size_t[]){1, B, H}, 3, h0, 2);
    softalign_tensor *states = made(gpu, (const size_t[]){B, S, H}, 3, found, 7);
    softalign_tensor *last = made(gpu, (const size_t[]){1, B, H}, 3, ends, 8);
    softalign_recorder *recorder;
    softalign_recording *recording;
    OK(softalign_record(gpu, "gru", &recorder));
    softalign_gru layer = {in, first, (const softalign_tensor *const *)weights, 1, lengths, states, last};
    OK(softalign_record_gru(recorder, &layer));
    softalign_gru wrong = layer;
    wrong.last = states;
    REFUSED(softalign_record_gru(recorder, &wrong),
            "gru: outputs: wanted f32 [2, 3, 3] and f32 [1, 2, 3], got f32 [2, 3, 3] and f32 [2, 3, 3]");
    wrong.weights = NULL;
    REFUSED(softalign_record_gru(recorder, &wrong), "softalign: weights: wanted 4 numbers, got NULL");
    REFUSED(softalign_record_gru(recorder, NULL), "softalign: gru: wanted an object, got NULL");
    OK(softalign_finish(recorder, &recording));
    OK(softalign_run(recording));
    OK(softalign_read(states, found, B * S * H));
    OK(softalign_read(last, ends, B * H));
    for (int b = 0; b < B; b++) {
        double h[H];
        for (int i = 0; i < H; i++) h[i] = h0[b * H + i];
        for (int s = 0; s < S; s++) {
            double gates[3][2][H], next[H];
            for (int gate = 0; gate < 3; gate++) {
                for (int i = 0; i < H; i++) {
                    int row = gate * H + i;
                    gates[gate][0][i] = b_ih[row];
                    gates[gate][1][i] = b_hh[row];
                    for (int j = 0; j < I; j++) gates[gate][0][i] += (double)w_ih[row * I + j] * x[(b * S + s) * I + j];
                    for (int j = 0; j < H; j++) gates[gate][1][i] += (double)w_hh[row * H + j] * h[j];
                }
            }
            for (int i = 0; i < H; i++) {
                double r = sigmoid(gates[0][0][i] + gates[0][1][i]), z = sigmoid(gates[1][0][i] + gates[1][1][i]);
                next[i] = (1 - z) * tanh(gates[2][0][i] + r * gates[2][1][i]) + z * h[i];
            }
            int valid = (uint32_t)s < LENGTHS[b];
            for (int i = 0; i < H; i++) {
                if (valid) h[i] = next[i];
                HOLDS(fabs(found[(b * S + s) * H + i] - (valid ? h[i] : 0)) < 1e-5);
            }
        }
        for (int i = 0; i < H; i++) HOLDS(fabs(ends[b * H + i] - h[i]) < 1e-5);
    }
    softalign_recording_free(recording);
    for (int i = 0; i < 4; i++) softalign_tensor_free(weights[i]);
    softalign_tensor_free(in);
    softalign_tensor_free(first);
    softalign_tensor_free(states);
    softalign_tensor_free(last);
}

/* Soft alignment over keys of unlike lengths, and dot-product attention of the same queries and keys over all that came before. */
static void attention(const softalign_gpu *gpu, const softalign_tensor *lengths) {
    float q[B * T * A], k[B * S * A], e[A], v[B * S * A], found[B * T * A], weights[B * T * S], product[B * T * A];
    softalign_tensor *query = made(gpu, (const size_t[]){B, T, A}, 3, q, 1), *key = made(gpu, (const size_t[]){B, S, A}, 3, k, 2);
    softalign_tensor *energy = made(gpu, (const size_t[]){A}, 1, e, 3), *value = made(gpu, (const size_t[]){B, S, A}, 3, v, 4);
    softalign_tensor *context = made(gpu, (const size_t[]){B, T, A}, 3, found, 5);
    softalign_tensor *shares = made(gpu, (const size_t[]){B, T, S}, 3, weights, 6);
    softalign_tensor *query4 = made(gpu, (const size_t[]){B, 1, T, A}, 4, q, 1), *key4 = made(gpu, (const size_t[]){B, 1, S, A}, 4, k, 2);
    softalign_tensor *value4 = made(gpu, (const size_t[]){B, 1, S, A}, 4, v, 4);
    softalign_tensor *context4 = made(gpu, (const size_t[]){B, 1, T, A}, 4, product, 5);
    softalign_recorder *recorder;
    softalign_recording *recording;
    OK(softalign_record(gpu, "attention", &recorder));
    softalign_additive_attention additive = {query, key, energy, value, lengths, context, shares};
    OK(softalign_record_additive_attention(recorder, &additive));
    softalign_dot_product_attention dot = {query4, key4, value4, NULL, true, context4};
    OK(softalign_record_dot_product_attention(recorder, &dot));
    dot.lengths = key4;
    HOLDS(softalign_record_dot_product_attention(recorder, &dot) == SOFTALIGN_STATUS_INVALID);
    HOLDS(strstr(softalign_error(), "dot_product_attention: lengths: wanted u32 [2], got f32 [2, 1, 3, 4]") != NULL);
    OK(softalign_finish(recorder, &recording));
    OK(softalign_run(recording));
    OK(softalign_read(context, found, B * T * A));
    OK(softalign_read(shares, weights, B * T * S));
    OK(softalign_read(context4, product, B * T * A));
    for (int b = 0; b < B; b++) {
        for (int t = 0; t < T; t++) {
            double scores[2][S] = {{0}}, sums[2] = {0, 0}, expected[2][A] = {{0}};
            for (int s = 0; s < S; s++) {
                for (int a = 0; a < A; a++) {
                    double one = q[(b * T + t) * A + a], other = k[(b * S + s) * A + a];
                    scores[0][s] += e[a] * tanh(one + other);
                    scores[1][s] += one * other / sqrt(A);
                }
                scores[0][s] = (uint32_t)s < LENGTHS[b] ? exp(scores[0][s]) : 0;
                scores[1][s] = s <= t ? exp(scores[1][s]) : 0;
                for (int kind = 0; kind < 2; kind++) sums[kind] += scores[kind][s];
            }
            for (int kind = 0; kind < 2; kind++)
                for (int s = 0; s < S; s++)
                    for (int a = 0; a < A; a++) expected[kind][a] += scores[kind][s] / sums[kind] * v[(b * S + s) * A + a];
            for (int s = 0; s < S; s++) HOLDS(fabs(weights[(b * T + t) * S + s] - scores[0][s] / sums[0]) < 1e-5);
            for (int a = 0; a < A; a++) HOLDS(fabs(found[(b * T + t) * A + a] - expected[0][a]) < 1e-5);
            for (int a = 0; a < A; a++) HOLDS(fabs(product[(b * T + t) * A + a] - expected[1][a]) < 1e-5);
        }
    }
    softalign_recording_free(recording);
    softalign_tensor *all[] = {query, key, energy, value, context, shares, query4, key4, value4, context4};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) softalign_tensor_free(all[i]);
}

static void operations(const softalign_gpu *gpu) {
    softalign_tensor *lengths;
    float few[B];
    OK(softalign_lengths_new(gpu, B, &lengths));
    OK(softalign_write_lengths(lengths, LENGTHS, B));
    REFUSED(softalign_write(lengths, few, B), "softalign: tensor: wanted one of floats, got u32 [2]");
    gru(gpu, lengths);
    attention(gpu, lengths);
    softalign_tensor_free(lengths);
}

static void folder(const softalign_gpu *gpu, const char *path) {
    softalign_model *model;
    OK(softalign_load(gpu, path, &model));
    char *text;
    float score;
    double log_probability;
    OK(softalign_generate(model, "1987", 1, &text, &score));
    printf("1987 -> %s, %.4f\n", text, score);
    OK(softalign_score(model, "1987", text, &log_probability));
    HOLDS(log_probability < 0);
    softalign_text_free(text);
    OK(softalign_generate(model, "5", 4, &text, NULL));
    softalign_text_free(text);

    text = NULL;
    REFUSED(softalign_generate(model, "5", 100, &text, NULL), "generate: beam: wanted 1 to 64, got 100");
    HOLDS(text == NULL);
    HOLDS(softalign_generate(model, "\xff", 1, &text, NULL) == SOFTALIGN_STATUS_INVALID);
    REFUSED(softalign_generate(model, NULL, 1, &text, NULL), "softalign: source: wanted a text, got NULL");
    softalign_model_free(model);
}

int main(int count, char **arguments) {
    softalign_gpu *gpu;
    softalign_model *model = NULL;
    HOLDS(count == 2);
    HOLDS(softalign_open("no such adapter", &gpu) == SOFTALIGN_STATUS_NO_ADAPTER);
    HOLDS(strstr(softalign_error(), "No adapter matches `no such adapter`") != NULL);
    OK(softalign_open(NULL, &gpu));
    HOLDS(strlen(softalign_error()) == 0);
    kernels(gpu);
    operations(gpu);
    folder(gpu, arguments[1]);
    HOLDS(softalign_load(gpu, "no/such/folder", &model) == SOFTALIGN_STATUS_INVALID && model == NULL);
    softalign_close(gpu);
    softalign_close(NULL);
    return 0;
}
