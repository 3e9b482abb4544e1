// The table of an instruction set's functions, and their arguments.
//
// A function works on a few rows of a map; the workspace (workspace.cc) distributes rows to
// threads. Maps are [height, width, channels], with channels padded with zeros to a multiple of
// `channel_multiple`, so that a 1x1 convolution is a product of two matrices and a vector register
// holds channels of one pixel.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mv2 {

// A feature map. `border` columns of zeros lie left and right of every row; rows above and below
// aren't stored. Elements are fp32 or bf16, depending on the kernels that wrote it.
struct Map {
    void* data = nullptr;
    int height = 0, width = 0, channels = 0, border = 0;

    ptrdiff_t row_elements() const { return static_cast<ptrdiff_t>(width + 2 * border) * channels; }
    ptrdiff_t elements() const { return row_elements() * height; }
    int pixels() const { return height * width; }
};

struct Rows {
    int begin, end;
};

// A linear map of channels, k to n (both padded), packed for the kernels.
struct Matrix {
    const void* weights = nullptr;
    const float* bias = nullptr;    // [n]
    const float* sums = nullptr;    // [taps][n], of each column of the rounded weights
    const float* scales = nullptr;  // [n], of int8 weights
    int k = 0, n = 0;
    ptrdiff_t tap = 0;  // bytes from one of a 3x3 convolution's nine matrices to the next
};

// A depthwise 3x3 convolution: weights [channels / 16][9][16], bias [channels].
struct Filter {
    const float* weights = nullptr;
    const float* bias = nullptr;
    int channels = 0;
};

// First convolution, 3x3 with stride 2, then SiLU: planar fp32 pixels to a map.
struct StemArgs {
    const float* pixels;  // [planes, height, width]
    int planes, height, width;
    const float* weights;  // [planes * 9][channels]
    const float* bias;
    Map out;
};

// Inverted residual: widen and SiLU, filter and SiLU, narrow; add the input where `add`.
struct ResidualArgs {
    Map in, out;  // `in` without a border
    Matrix widen, narrow;
    Filter filter;
    int stride, dilation;
    bool add;
    int ring;        // rows of the widened map that are kept
    uint64_t phase;  // new for each use: rows kept from an earlier one are stale
};

// The rows of the widened map of `phase` that a thread has kept: begin to end.
struct Ring {
    uint64_t phase = 0;
    int begin = 0, end = 0;
};

// One thread's memory. The kernels tell how many bytes of `data` each call needs.
struct Scratch {
    Ring* ring;
    unsigned char* data;
};

// Two or more whole rows of an attention map, the unit in which its sums are computed. The division
// doesn't depend on the threads, so neither do the sums.
struct Part {
    double mean, squares;      // of all channels and pixels; squares: their sum about the mean
    float highest[4], sum[4];  // for each patch position: highest score, sum of the exponentials
};

// One stage's attention: the state that its layers pass on.
struct AttentionMap {
    int height, width, dim;  // dim padded; `true_dim` without
    int true_dim;
    int part_rows, parts;
    float* values;  // [pixels][dim], the residual stream
    void* rounded;  // the same for the products, or nullptr if they take fp32
    float* scores;  // [pixels]
    Part* part;     // [parts]
    float* summed;  // [parts][4][dim]
};

// Into the attention map: depthwise filter with SiLU, 1x1 convolution; then the first query.
struct LocalArgs {
    Map in;             // its border is the dilation
    const void* zeros;  // its rows beyond the edge
    Filter filter;
    int dilation;
    Matrix narrow;
    AttentionMap map;
    const float* query;  // [dim], of the first layer, or nullptr
};

struct LayerArgs {
    AttentionMap map;
    float mean, scale;  // of the norm in front: (x - mean) * scale; its weights are in the matrices
    const float* query;  // [dim], of the next layer, or nullptr: scores come with the sums
    Matrix key, value, out;
    const float* value_bias;  // [dim], with the norm's shift
    float* context;           // [4][dim]
    Matrix widen, narrow;     // feed-forward
    const float* widen_bias;
};

// Out of the attention map: norm and 1x1 convolution.
struct ProjectArgs {
    AttentionMap map;
    float scale;
    Matrix matrix;
    const float* bias;  // with the norm's shift
    Map out;            // data is nullptr if only the sums are wanted
    float* pooled;      // [parts][n] sums over the part's pixels, or nullptr
};

// 1x1 or dense 3x3 convolution of the heads. `least` is 0 for ReLU, -infinity for none.
struct ConvArgs {
    Map in;
    Matrix matrix;
    const float* bias;
    float least;
    Map out;  // written from channel `channel` on
    int channel;
    float* floats;  // instead of `out`: fp32 [pixels][n]
    int dilation;   // of a 3x3 convolution, whose `in` has that border; 0: 1x1
};

struct FilterArgs {
    Map in;             // its border is the dilation
    const void* zeros;  // its rows beyond the edge
    Filter filter;
    int stride, dilation;
    Map out;
};

// Columns begin to end of a product with a single row, [k] to fp32 [n].
struct DenseArgs {
    const void* in;  // [k], as the products read it
    Matrix matrix;
    const float* bias;
    float least;
    float* out;  // [n]
};

struct Kernels {
    const char* name;
    int channel_multiple;
    int element;  // bytes of a map's element: 4 for fp32, 2 for bf16
    int weight;   // bytes of a matrix's element: 4 for fp32, 2 for bf16, 1 for int8
    int block;    // pixels that a product should have at least
    // Where element (k, n) of a matrix [depth, columns] lies in the packed form.
    size_t (*place)(int depth, int columns, int k, int n);

    size_t (*stem_scratch)(const StemArgs&);
    size_t (*residual_scratch)(const ResidualArgs&, int rows);
    size_t (*attention_scratch)(const AttentionMap&, int channels, int hidden);

    void (*stem)(const StemArgs&, Rows, Scratch);
    void (*residual)(const ResidualArgs&, Rows, Scratch);
    void (*local)(const LocalArgs&, int part, Scratch);
    void (*sum_part)(const LayerArgs&, int part);
    void (*context)(const LayerArgs&, Scratch);
    void (*attend)(const LayerArgs&, int part, Scratch);
    void (*feed_forward)(const LayerArgs&, int part, Scratch);
    void (*project)(const ProjectArgs&, int part, Scratch);
    void (*conv)(const ConvArgs&, Rows);
    void (*filter)(const FilterArgs&, Rows);
    void (*dense)(const DenseArgs&, Rows columns);
    void (*enter)();  // called by a thread before the first of the above
    void (*leave)();  // and after the last
    // Multiplies in registers alone for that many rounds, as fast as the processor can; returns
    // the number of multiply-adds.
    double (*spin)(ptrdiff_t rounds);
};

}  // namespace mv2
