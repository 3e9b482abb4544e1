/* MobileViTv2 on the CPU: a plain C interface.
 *
 * A bundle's folder (config.json, model.safetensors, preprocessor_config.json) goes in, a model
 * comes out; pixels go in, scores come out. No Python, no PyTorch, no other library.
 *
 * Every function that can fail returns 0 for success or one of the MV2_ERROR_ numbers, and then
 * writes one sentence into `message` (UTF-8, cut to `message_size` bytes with its final 0; both may
 * be 0). Nothing is thrown across this interface. A model may be used by many threads at a time.
 */
#ifndef MOBILEVITV2_H
#define MOBILEVITV2_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define MV2_API __declspec(dllexport)
#else
#define MV2_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Goes up when a struct or a function here changes; mv2_interface() is that of the library. */
#define MV2_INTERFACE 1

enum {
    MV2_ERROR_INPUT = 1,       /* an argument: a size, a pointer, a name */
    MV2_ERROR_FILE = 2,        /* a bundle that is missing, damaged, or contradicts itself */
    MV2_ERROR_UNSUPPORTED = 3, /* a sound model that this engine has no form of; PyTorch has */
    MV2_ERROR_MEMORY = 4,
    MV2_ERROR_INTERNAL = 5
};

enum { MV2_FP32 = 0, MV2_BF16 = 1, MV2_INT8 = 2 };

typedef struct mv2_model mv2_model;

typedef struct {
    int threads;              /* that one call may use; 0: one for each core */
    int precision;            /* MV2_FP32, MV2_BF16 or MV2_INT8 */
    const char* instructions; /* a name of mv2_instructions, or 0 for the best that is here */
} mv2_options;

typedef struct {
    char name[32];
    int rank;
    int64_t shape[4]; /* of one image, without the batch */
    size_t count;     /* floats of one image */
} mv2_output;

MV2_API int mv2_interface(void);

/* Which instruction sets this processor has in this precision, best first, separated by spaces
 * ("avx512-bf16"); "" where it has none. */
MV2_API const char* mv2_instructions(int precision);

MV2_API int mv2_open(const char* folder, const mv2_options* options, mv2_model** model,
                     char* message, size_t message_size);
MV2_API void mv2_close(mv2_model* model);

/* What a model says of itself, as JSON: task, labels, problem_type (of config.json, "" where it is
 * unset), precision, instructions, threads, weights (bytes), processor (the fields of
 * preprocessor_config.json). Lives as long as the model. */
MV2_API const char* mv2_describe(const mv2_model* model);

/* The outputs for images of height x width px, at most `capacity`; returns how many there are in
 * `count`. A classifier has logits [classes]; a segmenter logits [classes, h, w]; a detector logits
 * [anchors, 1 + classes], the background first, and boxes [anchors, 4] of center x, center y, width
 * and height in parts of the image; a backbone last_hidden_state [C, h, w] and pooler_output [C].
 * After them every model has stage_0 to stage_4, the maps [C, h, w] of the stages. */
MV2_API int mv2_outputs(const mv2_model* model, int height, int width, mv2_output* outputs,
                        int capacity, int* count, char* message, size_t message_size);

/* Prepared pixels, float [batch, channels, height, width] in [0, 1] and in the weights' channel
 * order, to outputs. `outputs[i]` is room for `counts[i]` floats, batch times the output's own, or
 * 0 for an output that is not wanted. An image that holds NaN or infinity has NaN or infinity for
 * its answers. */
MV2_API int mv2_run(const mv2_model* model, const float* pixels, int batch, int height, int width,
                    float* const* outputs, const size_t* counts, int count, char* message,
                    size_t message_size);

/* The size of the prepared pixels of a photo: what mv2_prepare writes, mv2_outputs takes. */
MV2_API int mv2_prepared_size(const mv2_model* model, int height, int width, int* prepared_height,
                              int* prepared_width, char* message, size_t message_size);

/* A decoded photo, uint8 RGB [height, width, 3] with `stride` bytes from row to row, resized,
 * cropped, scaled and put in the weights' channel order as preprocessor_config.json says, to float
 * [3, prepared_height, prepared_width]; `count` floats of room. */
MV2_API int mv2_prepare(const mv2_model* model, const uint8_t* photo, int height, int width,
                        ptrdiff_t stride, float* pixels, size_t count, char* message,
                        size_t message_size);

/* mv2_prepare and mv2_run in one: a photo goes in, scores come out. */
MV2_API int mv2_run_photo(const mv2_model* model, const uint8_t* photo, int height, int width,
                          ptrdiff_t stride, float* const* outputs, const size_t* counts, int count,
                          char* message, size_t message_size);

/* Where the time of one image of this size goes, as JSON of at most `size` bytes: peak
 * (multiply-adds a second of one thread, in registers alone), and parts with name, seconds (median
 * of `rounds`) and multiply_adds. */
MV2_API int mv2_profile(const mv2_model* model, int height, int width, int rounds, char* json,
                        size_t size, char* message, size_t message_size);

#ifdef __cplusplus
}
#endif
#endif
