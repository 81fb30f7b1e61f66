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
  template <class V> INLINE_MEMBER void put(int pixel, V value) const { store(data + (size_t)pixel * BLOCK, value); }
};

template <int PIXELS, class V, class Sink> INLINE void finish(const V (&sum)[PIXELS], const Sink& sink, int pixel,
    Activation activation) {
  choose(activation, [&](auto choice) __attribute__((always_inline)) {
    UNROLL for (int p = 0; p < PIXELS; p++) sink.put(pixel + p, activated<choice.value>(sum[p]));
  });
}

// Kernel side and horizontal stride known to the compiler. `in` is the upper left value under the first pixel.
template <int KERNEL, int STRIDE, int PIXELS, class V, class T, class Sink>
INLINE void pixels(const T* in, size_t row, const float* weight, V bias, const Sink& sink, int pixel,
    Activation activation) {
  V sum[PIXELS];
  UNROLL for (int p = 0; p < PIXELS; p++) sum[p] = bias;
  ROLLED for (int ky = 0; ky < KERNEL; ky++, in += row, weight += KERNEL * BLOCK) {
    V w[KERNEL];
    UNROLL for (int kx = 0; kx < KERNEL; kx++) w[kx] = load_as<V>(weight + kx * BLOCK);
    UNROLL for (int x = 0; x < (PIXELS - 1) * STRIDE + KERNEL; x++) {
      V value = load_as<V>(in + x * BLOCK);
      UNROLL for (int p = 0; p < PIXELS; p++) {
        int kx = x - p * STRIDE;
        if (kx >= 0 && kx < KERNEL) sum[p] += value * w[kx];
      }
    }
  }
  finish(sum, sink, pixel, activation);
}

// The same for any kernel and stride: loops instead of code.
template <int PIXELS, class V, class T, class Sink>
INLINE void pixels(const Depthwise& layer, const T* in, size_t row, const float* weight, V bias, const Sink& sink,
    int pixel, Activation activation) {
  V sum[PIXELS];
  UNROLL for (int p = 0; p < PIXELS; p++) sum[p] = bias;
  ROLLED for (int ky = 0; ky < layer.kernel; ky++) {
    ROLLED for (int kx = 0; kx < layer.kernel; kx++) {
      V w = load_as<V>(weight + (ky * layer.kernel + kx) * BLOCK);
      UNROLL for (int p = 0; p < PIXELS; p++) sum[p] += load_as<V>(in + ky * row + (p * layer.stride_x + kx) * BLOCK) * w;
    }
  }
  finish(sum, sink, pixel, activation);
}

// Groups that fill a row: of 112, 56, 28, 14 and 7 pixels and of 32, 16, 8 and 4 without rest, of others with little. A pixel alone
// waits for each of its sums. AVX2 has half the registers.
constexpr int WIDE = LANES == 16 ? 14 : 7;

template <int KERNEL, int STRIDE, class V, class T, class Sink>
static void row_of(const T* in, size_t row, const float* weight, V bias, const Sink& sink, int pixel, int width,
    Activation activation) {
  auto some = [&]<int PIXELS>(int x, std::integral_constant<int, PIXELS>) __attribute__((always_inline)) {
    for (; x + PIXELS <= width; x += PIXELS) pixels<KERNEL, STRIDE, PIXELS>(in + (size_t)x * STRIDE * BLOCK, row, weight, bias,
        sink, pixel + x, activation);
    return x;
  };
  if (width % 4 == 0 && width % 7 != 0) return (void)some(some(0, std::integral_constant<int, 8>{}), std::integral_constant<int, 4>{});
  int x = some(0, std::integral_constant<int, WIDE>{});
  if (WIDE > 7) x = some(x, std::integral_constant<int, 7>{});
  some(some(x, std::integral_constant<int, 3>{}), std::integral_constant<int, 1>{});
}

template <class V, class T, class Sink>
static void row_of_any(const Depthwise& layer, const T* in, size_t row, const float* weight, V bias, const Sink& sink,
    int pixel, int width, Activation activation) {
  int x = 0, step = layer.stride_x * BLOCK;
  for (; x + 7 <= width; x += 7) pixels<7>(layer, in + (size_t)x * step, row, weight, bias, sink, pixel + x, activation);
  for (; x < width; x++) pixels<1>(layer, in + (size_t)x * step, row, weight, bias, sink, pixel + x, activation);
}

// Output rows [from, to) of one block of channels; `width` pixels a row, numbered from 0 at the first row.
// sink(part) is the sink of one part of the block. If HALF, what lies above the first eight channels stays as it is.
template <bool HALF = false, class T, class Sinks>
static void depthwise(const Depthwise& layer, const Map<T>& map, int block, int from, int to, int width,
    Activation activation, const Sinks& sinks) {
  using V = std::conditional_t<HALF, Eight, Vector>;
  constexpr int lanes = sizeof(V) / sizeof(float), parts = (HALF ? BLOCK / 2 : BLOCK) / lanes;
  int taps = layer.kernel * layer.kernel, halo = layer.kernel / 2;
  for (int y = from; y < to; y++) {
    for (int part = 0; part < parts; part++) {
      const T* in = map.at(block, y * layer.stride_y - halo, -halo) + part * LANES;
      const float* weight = layer.weight.data() + (size_t)block * taps * BLOCK + part * LANES;
      V bias = load_as<V>(layer.bias.data() + block * BLOCK + part * LANES);
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
