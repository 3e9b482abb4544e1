/* An engine that computes nothing, for tests of who calls it: what a folder is called decides what
 * it does, and the answer is how bright each channel is. */
#include "mobilevitv2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef INTERFACE
#define INTERFACE MV2_INTERFACE
#endif

struct mv2_model {
    char folder[4096], description[512];
    int threads, precision, detects, segments;
};

static int open_models = 0, inside = 0, most_inside = 0;

MV2_API int fake_open_models(void) { return open_models; }
MV2_API int fake_most_inside(void) { return most_inside; }
MV2_API int fake_sizes(int which) {
    size_t sizes[] = {sizeof(mv2_options), sizeof(mv2_output), offsetof(mv2_output, count)};
    return (int)sizes[which];
}

static int say(int code, const char *text, char *message, size_t size) {
    if (message && size) snprintf(message, size, "%s", text);
    return code;
}

MV2_API int mv2_interface(void) { return INTERFACE; }

MV2_API const char *mv2_instructions(int precision) {
    return precision == MV2_FP32 ? "fake plain" : precision == MV2_BF16 ? "fake" : "";
}

MV2_API int mv2_open(const char *folder, const mv2_options *options, mv2_model **model,
                     char *message, size_t size) {
    folder = strrchr(folder, '/') + 1;
    for (int code = 1; code <= 5; ++code) {
        char name[16];
        snprintf(name, sizeof name, "error-%d", code);
        if (strstr(folder, name)) return say(code, "an error, as it was ordered: \xc3\xa4", message, size);
    }
    if (options->instructions && strcmp(options->instructions, "fake") &&
        strcmp(options->instructions, "plain"))
        return say(MV2_ERROR_INPUT, "no such instructions", message, size);
    mv2_model *made = calloc(1, sizeof *made);
    snprintf(made->folder, sizeof made->folder, "%s", folder);
    made->threads = options->threads;
    made->precision = options->precision;
    made->detects = strstr(folder, "detector") != 0;
    made->segments = strstr(folder, "segmenter") != 0;
    const char *names[] = {"fp32", "bf16", "int8"};
    snprintf(made->description, sizeof made->description,
             "{\"task\": \"%s\", \"labels\": [\"blue\", \"green\", \"red\"], \"precision\": \"%s\", "
             "\"instructions\": \"%s\", \"threads\": %d, \"weights\": 0, \"processor\": {}}",
             strstr(folder, "backbone") ? "backbone"
             : made->detects            ? "detection"
             : made->segments           ? "segmentation"
                                        : "classification",
             names[made->precision], options->instructions ? options->instructions : "fake",
             made->threads);
    __atomic_add_fetch(&open_models, 1, __ATOMIC_SEQ_CST);
    *model = made;
    return 0;
}

MV2_API void mv2_close(mv2_model *model) {
    if (model) __atomic_sub_fetch(&open_models, 1, __ATOMIC_SEQ_CST);
    free(model);
}

MV2_API const char *mv2_describe(const mv2_model *model) { return model->description; }

static mv2_output output(const char *name, int rank, int64_t a, int64_t b, int64_t c) {
    mv2_output made = {.rank = rank, .shape = {a, b, c}, .count = (size_t)a};
    snprintf(made.name, sizeof made.name, "%s", name);
    if (rank > 1) made.count *= (size_t)b;
    if (rank > 2) made.count *= (size_t)c;
    return made;
}

MV2_API int mv2_outputs(const mv2_model *model, int height, int width, mv2_output *outputs,
                        int capacity, int *count, char *message, size_t size) {
    if (height < 32 || width < 32) return say(MV2_ERROR_INPUT, "too small", message, size);
    int n = 0;
    if (capacity < 7) return say(MV2_ERROR_INPUT, "no room", message, size);
    if (model->detects) {
        outputs[n++] = output("logits", 2, 5, 4, 0);
        outputs[n++] = output("boxes", 2, 5, 4, 0);
    } else if (model->segments) {
        outputs[n++] = output("logits", 3, 3, height / 16, width / 16);
    } else {
        outputs[n++] = output("logits", 1, 3, 0, 0);
    }
    for (int i = 0; i < 5; ++i) {
        char name[16];
        snprintf(name, sizeof name, "stage_%d", i);
        outputs[n++] = output(name, 3, 2, height >> (i + 1), width >> (i + 1));
    }
    *count = n;
    return 0;
}

/* Every output is filled with the brightness of the channels in turn, blue, green, red; boxes with
 * a quarter. */
MV2_API int mv2_run(const mv2_model *model, const float *pixels, int batch, int height, int width,
                    float *const *outputs, const size_t *counts, int count, char *message,
                    size_t size) {
    mv2_output known[8];
    int n = 0, code = mv2_outputs(model, height, width, known, 8, &n, message, size);
    if (code) return code;
    if (count != n) return say(MV2_ERROR_INPUT, "another number of outputs", message, size);
    for (int i = 0; i < n; ++i)
        if (outputs[i] && counts[i] != known[i].count * (size_t)batch)
            return say(MV2_ERROR_INPUT, "a wrong count", message, size);
    int now = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    if (now > most_inside) most_inside = now;
    if (strstr(model->folder, "slow")) usleep(200000);
    size_t area = (size_t)height * (size_t)width;
    for (int b = 0; b < batch; ++b) {
        float bright[3];
        for (int c = 0; c < 3; ++c) {
            double sum = 0;
            for (size_t i = 0; i < area; ++i) sum += pixels[((size_t)b * 3 + (size_t)c) * area + i];
            bright[2 - c] = (float)(20 * sum / (double)area);
        }
        for (int i = 0; i < n; ++i) {
            if (!outputs[i]) continue;
            size_t each = known[i].count, part = each / 3 ? each / 3 : 1;
            float *to = outputs[i] + (size_t)b * each;
            for (size_t k = 0; k < each; ++k)
                to[k] = !strcmp(known[i].name, "boxes") ? 0.25f
                        : model->detects                ? (k % 4 ? bright[k % 4 - 1] : 0)
                                                        : bright[k / part < 3 ? k / part : 2];
        }
    }
    __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    return 0;
}

MV2_API int mv2_prepared_size(const mv2_model *model, int height, int width, int *prepared_height,
                              int *prepared_width, char *message, size_t size) {
    (void)model, (void)message, (void)size;
    *prepared_height = height;
    *prepared_width = width;
    return 0;
}

MV2_API int mv2_prepare(const mv2_model *model, const uint8_t *photo, int height, int width,
                        ptrdiff_t stride, float *pixels, size_t count, char *message, size_t size) {
    (void)model;
    if (count != 3u * (size_t)height * (size_t)width)
        return say(MV2_ERROR_INPUT, "a wrong count", message, size);
    for (int c = 0; c < 3; ++c)
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x)
                *pixels++ = (float)photo[y * stride + 3 * x + c] / 255;
    return 0;
}

MV2_API int mv2_run_photo(const mv2_model *model, const uint8_t *photo, int height, int width,
                          ptrdiff_t stride, float *const *outputs, const size_t *counts, int count,
                          char *message, size_t size) {
    size_t room = 3u * (size_t)height * (size_t)width;
    float *pixels = malloc(room * sizeof *pixels);
    mv2_prepare(model, photo, height, width, stride, pixels, room, message, size);
    int code = mv2_run(model, pixels, 1, height, width, outputs, counts, count, message, size);
    free(pixels);
    return code;
}

MV2_API int mv2_profile(const mv2_model *model, int height, int width, int rounds, char *json,
                        size_t room, char *message, size_t size) {
    (void)model, (void)message, (void)size;
    snprintf(json, room,
             "{\"peak\": %d, \"parts\": "
             "[{\"name\": \"all\", \"seconds\": 1, \"multiply_adds\": %d}]}",
             rounds, height * width);
    return 0;
}
