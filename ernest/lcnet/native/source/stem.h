// The first convolution, 3x3: from planes of an image to blocks of sixteen channels.
#pragma once

#include "network.h"

namespace lcnet {

// Three rows of the image with zeros around it: [channel][3][1 + width + slack]. Column -1 is the first.
struct ImageRows {
  float* data;
  size_t row, plane;
  ImageRows(float* memory, int width) : data(memory), row(up(width + 2, 16) + 32), plane(row * 3) {}
  static int count(const Stem& stem, int rows) { return (rows - 1) * stem.stride_y + 3; }
  // Floats that any stem needs for so many output rows: the one with tile registers keeps all of them.
  static size_t size(const Stem& stem, int width, int rows) { return (size_t)(up(width + 2, 16) + 32) * count(stem,
      rows) * std::max(stem.in, 2); }

  // Columns [from, to) of rows first, first + 1, first + 2, as far as any output sees.
  void fill(const float* image, int channels, int height, int width, int first, int from, int to) {
    to = std::min(to, width + 2);
    int left = std::max(from, 0), right = std::max(left, std::min(to, width));
    for (int c = 0; c < channels; c++)
      for (int r = 0; r < 3; r++) {
        float* columns = data + c * plane + r * row + 1;
        const float* source = image + ((size_t)c * height + first + r) * width;
        bool inside = first + r >= 0 && first + r < height;
        std::fill(columns + from, columns + left, 0.f);
        if (inside) std::copy(source + left, source + right, columns + left);
        else std::fill(columns + left, columns + right, 0.f);
        std::fill(columns + right, columns + std::max(right, to), 0.f);
      }
  }
};

template <int PIXELS, class V, class T>
INLINE void stem_pixels(const Stem& stem, const float* in, size_t row, size_t plane, int stride, const float* weight,
    V bias, T* out, Activation activation) {
  V sum[PIXELS];
  UNROLL for (int p = 0; p < PIXELS; p++) sum[p] = bias;
  ROLLED for (int c = 0; c < stem.in; c++) {
    UNROLL for (int ky = 0; ky < 3; ky++) {
      const float* at = in + c * plane + ky * row;
      UNROLL for (int kx = 0; kx < 3; kx++, weight += BLOCK) {
        V w = load_as<V>(weight);
        UNROLL for (int p = 0; p < PIXELS; p++) sum[p] += splat_as<V>(at[p * stride + kx]) * w;
      }
    }
  }
  choose(activation, [&](auto choice) __attribute__((always_inline)) {
    UNROLL for (int p = 0; p < PIXELS; p++) store(out + p * BLOCK, activated<choice.value>(sum[p]));
  });
}

constexpr int STEM_PIXELS = LANES == 16 ? 14 : 7;

// Outputs [x, end) of a row, of `lanes` channels of a block; `in` is column -1 of the upper one of its rows in the first plane.
template <int STRIDE, class V, class T>
static void stem_row_of(const Stem& stem, const float* in, size_t row, size_t plane, int block, int lanes, T* out, int x, int end,
    Activation activation) {
  int stride = STRIDE ? STRIDE : stem.stride_x;
  for (int part = 0; part < lanes; part += sizeof(V) / sizeof(float)) {
    const float* weight = stem.weight.data() + (size_t)block * stem.in * 9 * BLOCK + part;
    V bias = load_as<V>(stem.bias.data() + block * BLOCK + part);
    auto some = [&]<int PIXELS>(int from, std::integral_constant<int, PIXELS>) __attribute__((always_inline)) {
      for (; from + PIXELS <= end; from += PIXELS) stem_pixels<PIXELS>(stem, in + from * stride, row, plane, stride, weight, bias,
          out + from * BLOCK + part, activation);
      return from;
    };
    int rest = some(x, std::integral_constant<int, STEM_PIXELS>{});
    rest = some(rest, std::integral_constant<int, 4>{});
    some(rest, std::integral_constant<int, 1>{});
  }
}

template <int STRIDE, class T>
static void stem_row(const Stem& stem, const float* in, size_t row, size_t plane, int block, T* out, int x, int end,
    Activation activation) {
  if (fits_eight(stem.out - block * BLOCK)) stem_row_of<STRIDE, Eight>(stem, in, row, plane, block, BLOCK / 2, out, x, end, activation);
  else stem_row_of<STRIDE, Vector>(stem, in, row, plane, block, BLOCK, out, x, end, activation);
}

// Output rows [from, to); `memory` holds ImageRows::size floats. Most outputs read the image itself; those that see its border
// read a copy with zeros around.
template <class T>
static void stem_rows(const Stem& stem, const float* image, int height, int width, int from, int to, const Map<T>& out,
    float* memory, Activation activation) {
  ImageRows copy(memory, width);
  size_t plane = (size_t)height * width;
  for (int y = from; y < to; y++) {
    int top = y * stem.stride_y - 1;
    bool inside = top >= 0 && top + 3 <= height && width >= 2;
    int low = inside ? std::min(STEM_PIXELS, out.width) : out.width;
    int high = inside ? std::clamp((width - 2) / stem.stride_x + 1, low, out.width) : out.width;
    copy.fill(image, stem.in, height, width, top, -1, low * stem.stride_x + 2);
    if (high < out.width) copy.fill(image, stem.in, height, width, top, high * stem.stride_x - 1, out.width * stem.stride_x + 2);
    auto outputs = [&](auto stride) {
      for (int block = 0; block < blocks(stem.out); block++) {
        T* row = out.at(block, y, 0);
        stem_row<stride.value>(stem, copy.data, copy.row, copy.plane, block, row, 0, low, activation);
        if (low < high) stem_row<stride.value>(stem, image + (ptrdiff_t)top * width - 1, width, plane, block, row, low, high,
            activation);
        stem_row<stride.value>(stem, copy.data, copy.row, copy.plane, block, row, high, out.width, activation);
      }
    };
    if (stem.stride_x == 2) outputs(std::integral_constant<int, 2>{});
    else if (stem.stride_x == 1) outputs(std::integral_constant<int, 1>{});
    else outputs(std::integral_constant<int, 0>{});
  }
}

}  // namespace lcnet
