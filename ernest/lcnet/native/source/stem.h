// The first convolution, 3x3: from planes of an image to blocks of sixteen channels.
#pragma once

#include "network.h"

namespace lcnet {

// Rows of the image that output rows [from, to) look at, with a zero on either side: [channel][row][1 + width + slack].
struct ImageRows {
  float* data;
  size_t row, plane;
  ImageRows(float* memory, int width, int rows) : data(memory), row(up(width + 2, 16) + 32), plane(row * rows) {}
  static int count(const Stem& stem, int rows) { return (rows - 1) * stem.stride_y + 3; }
  static size_t size(const Stem& stem, int width, int rows) { return (size_t)(up(width + 2, 16) + 32) * count(stem,
      rows) * std::max(stem.in, 2); }

  void fill(const float* image, int channels, int height, int width, int first, int rows) {
    for (int c = 0; c < channels; c++)
      for (int r = 0; r < rows; r++) {
        float* to = data + c * plane + r * row;
        int y = first + r;
        bool inside = y >= 0 && y < height;
        to[0] = 0;
        if (inside) std::memcpy(to + 1, image + ((size_t)c * height + y) * width, width * sizeof(float));
        std::memset(to + 1 + (inside ? width : 0), 0, (row - 1 - (inside ? width : 0)) * sizeof(float));
      }
  }
};

template <int PIXELS, class T>
INLINE void stem_pixels(const Stem& stem, const ImageRows& rows, const float* in, int stride, const float* weight,
    Vector bias, T* out, Activation activation) {
  Vector sum[PIXELS];
  UNROLL for (int p = 0; p < PIXELS; p++) sum[p] = bias;
  ROLLED for (int c = 0; c < stem.in; c++) {
    UNROLL for (int ky = 0; ky < 3; ky++) {
      const float* at = in + c * rows.plane + ky * rows.row;
      UNROLL for (int kx = 0; kx < 3; kx++, weight += BLOCK) {
        Vector w = load(weight);
        UNROLL for (int p = 0; p < PIXELS; p++) sum[p] += splat(at[p * stride + kx]) * w;
      }
    }
  }
  choose(activation, [&](auto choice) __attribute__((always_inline)) {
    UNROLL for (int p = 0; p < PIXELS; p++) store(out + p * BLOCK, activated<choice.value>(sum[p]));
  });
}

template <int STRIDE, class T>
static void stem_row(const Stem& stem, const ImageRows& rows, int first, int block, T* out, int width, Activation activation) {
  constexpr int PIXELS = LANES == 16 ? 14 : 7;
  int stride = STRIDE ? STRIDE : stem.stride_x;
  for (int part = 0; part < BLOCK; part += LANES) {
    const float* weight = stem.weight.data() + (size_t)block * stem.in * 9 * BLOCK + part;
    Vector bias = load(stem.bias.data() + block * BLOCK + part);
    const float* in = rows.data + first * rows.row;
    int x = 0;
    for (; x + PIXELS <= width; x += PIXELS) stem_pixels<PIXELS>(stem, rows, in + x * stride, stride, weight, bias,
        out + x * BLOCK + part, activation);
    for (; x + 4 <= width; x += 4) stem_pixels<4>(stem, rows, in + x * stride, stride, weight, bias, out + x * BLOCK + part,
        activation);
    for (; x < width; x++) stem_pixels<1>(stem, rows, in + x * stride, stride, weight, bias, out + x * BLOCK + part, activation);
  }
}

// Output rows [from, to); `memory` holds ImageRows::size floats.
template <class T>
static void stem_rows(const Stem& stem, const float* image, int height, int width, int from, int to, const Map<T>& out,
    float* memory, Activation activation) {
  int count = ImageRows::count(stem, to - from);
  ImageRows rows(memory, width, count);
  rows.fill(image, stem.in, height, width, from * stem.stride_y - 1, count);
  for (int y = from; y < to; y++)
    for (int block = 0; block < blocks(stem.out); block++) {
      T* row = out.at(block, y, 0);
      int first = (y - from) * stem.stride_y;
      if (stem.stride_x == 2) stem_row<2>(stem, rows, first, block, row, out.width, activation);
      else if (stem.stride_x == 1) stem_row<1>(stem, rows, first, block, row, out.width, activation);
      else stem_row<0>(stem, rows, first, block, row, out.width, activation);
    }
}

}  // namespace lcnet
