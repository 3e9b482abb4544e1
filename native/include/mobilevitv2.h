/* MobileViTv2 on the CPU: a plain C interface.
 *
 * Opens a bundle's folder (config.json, model.safetensors, preprocessor_config.json) as a model,
 * which turns pixels into scores. Needs no Python, PyTorch or other library.
 *
 * Every function that can fail returns 0 on success or an MV2_ERROR_ number, and then writes one
 * sentence into `message` (UTF-8, cut to `message_size` bytes including the final 0; both may be
 * 0). No exception crosses this interface. Many threads may use a model at the same time.
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

/* Incremented when a struct or function here changes; mv2_interface() returns the library's. */
#define MV2_INTERFACE 1

enum {
    MV2_ERROR_INPUT = 1,       /* a bad argument: a size, a pointer, a name */
    MV2_ERROR_FILE = 2,        /* a bundle that is missing, damaged or inconsistent */
    MV2_ERROR_UNSUPPORTED = 3, /* a valid model that only PyTorch can run */
    MV2_ERROR_MEMORY = 4,
    MV2_ERROR_INTERNAL = 5
};

enum { MV2_FP32 = 0, MV2_BF16 = 1, MV2_INT8 = 2 };

typedef struct mv2_model mv2_model;

typedef struct {
    int threads;              /* that a call may use; 0: one per core */
    int precision;            /* MV2_FP32, MV2_BF16 or MV2_INT8 */
    const char* instructions; /* a name from mv2_instructions, or 0 for the best */
} mv2_options;

typedef struct {
    char name[32];
    int rank;
    int64_t shape[4]; /* of one image, without the batch */
    size_t count;     /* floats per image */
} mv2_output;

MV2_API int mv2_interface(void);

/* The instruction sets that can be used on this processor in a precision, best first, separated by
 * spaces ("amx-bf16 avx512-bf16"); "" if there are none. */
MV2_API const char* mv2_instructions(int precision);

MV2_API int mv2_open(const char* folder, const mv2_options* options, mv2_model** model,
                     char* message, size_t message_size);
MV2_API void mv2_close(mv2_model* model);

/* A model's description as JSON: task, labels, problem_type (from config.json, "" if unset),
 * precision, instructions, threads, weights (bytes), channels (of an image), processor (the fields
 * of preprocessor_config.json). Valid as long as the model. */
MV2_API const char* mv2_describe(const mv2_model* model);

/* The outputs for images of height x width px: fills in at most `capacity` of them, and sets
 * `count` to how many there are. A classifier has logits [classes]; a segmenter logits [classes, h,
 * w]; a detector logits [anchors, 1 + classes], background first, and boxes [anchors, 4] with
 * center x, center y, width and height as fractions of the image; a backbone last_hidden_state [C,
 * h, w] and pooler_output [C]. Then every model has stage_0 to stage_4, the stages' feature maps
 * [C, h, w]. */
MV2_API int mv2_outputs(const mv2_model* model, int height, int width, mv2_output* outputs,
                        int capacity, int* count, char* message, size_t message_size);

/* Runs the network on prepared pixels, float [batch, channels, height, width] in [0, 1], in the
 * weights' channel order. `outputs[i]` has room for `counts[i]` floats, batch times the output's
 * own count, or is 0 to skip the output. For an image that contains NaN or infinity, the head's
 * outputs hold nothing but NaN and infinity. */
MV2_API int mv2_run(const mv2_model* model, const float* pixels, int batch, int height, int width,
                    float* const* outputs, const size_t* counts, int count, char* message,
                    size_t message_size);

/* The size of a photo's prepared pixels: what mv2_prepare writes and mv2_outputs takes. */
MV2_API int mv2_prepared_size(const mv2_model* model, int height, int width, int* prepared_height,
                              int* prepared_width, char* message, size_t message_size);

/* Resizes, crops and scales a decoded photo, uint8 RGB [height, width, 3] with `stride` bytes from
 * row to row, and puts its channels in the weights' order, as preprocessor_config.json says.
 * `pixels` receives float [3, prepared_height, prepared_width] and has room for `count` floats. */
MV2_API int mv2_prepare(const mv2_model* model, const uint8_t* photo, int height, int width,
                        ptrdiff_t stride, float* pixels, size_t count, char* message,
                        size_t message_size);

/* mv2_prepare and mv2_run in one: turns a photo into scores. */
MV2_API int mv2_run_photo(const mv2_model* model, const uint8_t* photo, int height, int width,
                          ptrdiff_t stride, float* const* outputs, const size_t* counts, int count,
                          char* message, size_t message_size);

/* Where the time for one image of this size goes, as JSON of at most `size` bytes: peak (one
 * thread's multiply-adds per second, in registers alone), and parts with name, seconds (median of
 * `rounds`) and multiply_adds. */
MV2_API int mv2_profile(const mv2_model* model, int height, int width, int rounds, char* json,
                        size_t size, char* message, size_t message_size);

#ifdef __cplusplus
}
#endif
#endif
