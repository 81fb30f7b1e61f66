// Depthwise convolution of one block of sixteen channels, row by row.
//
// A group of neighbouring pixels is summed in registers: every value read serves all the pixels it lies under, and the
// weights of one kernel row stay in registers meanwhile. Where the sums go is the business of a sink, see `Floats`.
#pragma once

#include "network.h"

namespace lcnet {

// A sink takes the finished values of one part of a block of channels: put(pixel of the strip, vector).
struct Floats {
  float* data;
  INLINE_MEMBER void put(int pixel, Vector value) const { store(data + (size_t)pixel * BLOCK, value); }
};

template <int PIXELS, class Sink> INLINE void finish(const Vector (&sum)[PIXELS], const Sink& sink, int pixel,
    Activation activation) {
  choose(activation, [&](auto choice) __attribute__((always_inline)) {
    UNROLL for (int p = 0; p < PIXELS; p++) sink.put(pixel + p, activated<choice.value>(sum[p]));
  });
}

// Kernel side and horizontal stride known to the compiler. `in` is the upper left value under the first pixel.
template <int KERNEL, int STRIDE, int PIXELS, class T, class Sink>
INLINE void pixels(const T* in, size_t row, const float* weight, Vector bias, const Sink& sink, int pixel,
    Activation activation) {
  Vector sum[PIXELS];
  UNROLL for (int p = 0; p < PIXELS; p++) sum[p] = bias;
  ROLLED for (int ky = 0; ky < KERNEL; ky++, in += row, weight += KERNEL * BLOCK) {
    Vector w[KERNEL];
    UNROLL for (int kx = 0; kx < KERNEL; kx++) w[kx] = load(weight + kx * BLOCK);
    UNROLL for (int x = 0; x < (PIXELS - 1) * STRIDE + KERNEL; x++) {
      Vector value = load(in + x * BLOCK);
      UNROLL for (int p = 0; p < PIXELS; p++) {
        int kx = x - p * STRIDE;
        if (kx >= 0 && kx < KERNEL) sum[p] += value * w[kx];
      }
    }
  }
  finish(sum, sink, pixel, activation);
}

// The same for any kernel and stride: loops instead of code.
template <int PIXELS, class T, class Sink>
INLINE void pixels(const Depthwise& layer, const T* in, size_t row, const float* weight, Vector bias, const Sink& sink,
    int pixel, Activation activation) {
  Vector sum[PIXELS];
  UNROLL for (int p = 0; p < PIXELS; p++) sum[p] = bias;
  ROLLED for (int ky = 0; ky < layer.kernel; ky++) {
    ROLLED for (int kx = 0; kx < layer.kernel; kx++) {
      Vector w = load(weight + (ky * layer.kernel + kx) * BLOCK);
      UNROLL for (int p = 0; p < PIXELS; p++) sum[p] += load(in + ky * row + (p * layer.stride_x + kx) * BLOCK) * w;
    }
  }
  finish(sum, sink, pixel, activation);
}

// Groups that fill a row: of 112, 56, 28, 14 and 7 pixels without rest, of others with little. AVX2 has half the registers.
constexpr int WIDE = LANES == 16 ? 14 : 7;

template <int KERNEL, int STRIDE, class T, class Sink>
static void row_of(const T* in, size_t row, const float* weight, Vector bias, const Sink& sink, int pixel, int width,
    Activation activation) {
  int x = 0;
  for (; x + WIDE <= width; x += WIDE) pixels<KERNEL, STRIDE, WIDE>(in + (size_t)x * STRIDE * BLOCK, row, weight, bias, sink,
      pixel + x, activation);
  if (WIDE > 7 && x + 7 <= width) pixels<KERNEL, STRIDE, 7>(in + (size_t)x * STRIDE * BLOCK, row, weight, bias, sink,
      pixel + x, activation), x += 7;
  for (; x + 3 <= width; x += 3) pixels<KERNEL, STRIDE, 3>(in + (size_t)x * STRIDE * BLOCK, row, weight, bias, sink,
      pixel + x, activation);
  for (; x < width; x++) pixels<KERNEL, STRIDE, 1>(in + (size_t)x * STRIDE * BLOCK, row, weight, bias, sink, pixel + x,
      activation);
}

template <class T, class Sink>
static void row_of_any(const Depthwise& layer, const T* in, size_t row, const float* weight, Vector bias, const Sink& sink,
    int pixel, int width, Activation activation) {
  int x = 0, step = layer.stride_x * BLOCK;
  for (; x + 7 <= width; x += 7) pixels<7>(layer, in + (size_t)x * step, row, weight, bias, sink, pixel + x, activation);
  for (; x < width; x++) pixels<1>(layer, in + (size_t)x * step, row, weight, bias, sink, pixel + x, activation);
}

// Output rows [from, to) of one block of channels; `width` pixels a row, numbered from 0 at the first row.
// sink(part) is the sink of one part of the block.
template <class T, class Sinks>
static void depthwise(const Depthwise& layer, const Map<T>& map, int block, int from, int to, int width,
    Activation activation, const Sinks& sinks) {
  int taps = layer.kernel * layer.kernel, halo = layer.kernel / 2;
  for (int y = from; y < to; y++) {
    for (int part = 0; part < PARTS; part++) {
      const T* in = map.at(block, y * layer.stride_y - halo, -halo) + part * LANES;
      const float* weight = layer.weight.data() + (size_t)block * taps * BLOCK + part * LANES;
      Vector bias = load(layer.bias.data() + block * BLOCK + part * LANES);
      auto sink = sinks(part);
      int pixel = (y - from) * width;
      if (layer.kernel == 3 && layer.stride_x == 1) row_of<3, 1>(in, map.row, weight, bias, sink, pixel, width, activation);
      else if (layer.kernel == 3 && layer.stride_x == 2) row_of<3, 2>(in, map.row, weight, bias, sink, pixel, width, activation);
      else if (layer.kernel == 5 && layer.stride_x == 1) row_of<5, 1>(in, map.row, weight, bias, sink, pixel, width, activation);
      else if (layer.kernel == 5 && layer.stride_x == 2) row_of<5, 2>(in, map.row, weight, bias, sink, pixel, width, activation);
      else row_of_any(layer, in, map.row, weight, bias, sink, pixel, width, activation);
    }
  }
}

}  // namespace lcnet
