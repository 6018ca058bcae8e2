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
    folder(gpu, arguments[1]);
    HOLDS(softalign_load(gpu, "no/such/folder", &model) == SOFTALIGN_STATUS_INVALID && model == NULL);
    softalign_close(gpu);
    softalign_close(NULL);
    return 0;
}
