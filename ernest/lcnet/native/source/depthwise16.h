// Depthwise convolution in halves. With stride 1 a register holds two neighbouring pixels of a block; two rows of pixels
// are summed at once, so that a value that was read serves both. Other strides take a pixel at a time.
#pragma once

#include "half.h"
#include "network.h"

#if defined(__AVX512FP16__)
namespace lcnet {

// The first `valid` pixels of PAIRS pairs; sink.both and sink.first take a pair and a half pair.
template <int PAIRS, class Sink> INLINE void finish_pairs(const Halves (&sum)[PAIRS], const Sink& sink, int pixel, int valid,
    Activation activation) {
  choose(activation, [&](auto choice) __attribute__((always_inline)) {
    UNROLL for (int p = 0; p < PAIRS; p++) {
      if (2 * p + 1 < valid) sink.both(pixel + 2 * p, activated<choice.value>(sum[p]));
      else if (2 * p < valid) sink.first(pixel + 2 * p, activated<choice.value>(sum[p]));
    }
  });
}

template <int KERNEL, int ROWS, int PAIRS, class Sink>
static void pairs(const Half* in, size_t row, const Half* weight, Halves bias, const Sink& sink, int pixel, int width,
    int valid, Activation activation) {
  Halves sum[ROWS][PAIRS];
  UNROLL for (int r = 0; r < ROWS; r++)
    UNROLL for (int p = 0; p < PAIRS; p++) sum[r][p] = bias;
  UNROLL for (int y = 0; y < KERNEL + ROWS - 1; y++) {
    Halves w[ROWS][KERNEL] = {};
    UNROLL for (int r = 0; r < ROWS; r++)
      UNROLL for (int kx = 0; kx < KERNEL; kx++)
        if (y - r >= 0 && y - r < KERNEL) w[r][kx] = load_pair(weight + ((y - r) * KERNEL + kx) * 2 * BLOCK);
    UNROLL for (int x = 0; x < 2 * PAIRS + KERNEL - 2; x++) {
      Halves value = load_pair(in + y * row + x * BLOCK);
      UNROLL for (int r = 0; r < ROWS; r++)
        UNROLL for (int p = 0; p < PAIRS; p++) {
          int kx = x - 2 * p;
          if (y - r >= 0 && y - r < KERNEL && kx >= 0 && kx < KERNEL) sum[r][p] = _mm512_fmadd_ph(value, w[r][kx], sum[r][p]);
        }
    }
  }
  UNROLL for (int r = 0; r < ROWS; r++) finish_pairs(sum[r], sink, pixel + r * width, valid, activation);
}

template <int KERNEL, int ROWS, class Sink>
static void rows_of_pairs(const Half* in, size_t row, const Half* weight, Halves bias, const Sink& sink, int pixel, int width,
    Activation activation) {
  for (int x = 0; x < width;) {
    const Half* at = in + (size_t)x * BLOCK;
    int left = width - x;
    if (left >= 13) pairs<KERNEL, ROWS, 7>(at, row, weight, bias, sink, pixel + x, width, std::min(left, 14), activation),
        x += 14;
    else if (left >= 5) pairs<KERNEL, ROWS, 4>(at, row, weight, bias, sink, pixel + x, width, std::min(left, 8), activation),
        x += 8;
    else pairs<KERNEL, ROWS, 2>(at, row, weight, bias, sink, pixel + x, width, std::min(left, 4), activation), x += 4;
  }
}

// KERNEL and STRIDE 0: those of the layer.
template <int KERNEL, int STRIDE, int PIXELS, class Sink>
static void singles(const Depthwise& layer, const Half* in, size_t row, const Half* weight, Halves bias, const Sink& sink,
    int pixel, int valid, Activation activation) {
  int kernel = KERNEL ? KERNEL : layer.kernel, stride = STRIDE ? STRIDE : layer.stride_x;
  __m256h sum[PIXELS];
  UNROLL for (int p = 0; p < PIXELS; p++) sum[p] = _mm512_castph512_ph256(bias);
  UNROLL for (int ky = 0; ky < kernel; ky++)
    UNROLL for (int kx = 0; kx < kernel; kx++) {
      __m256h w = _mm256_loadu_ph(weight + (ky * kernel + kx) * 2 * BLOCK);
      UNROLL for (int p = 0; p < PIXELS; p++) sum[p] = _mm256_fmadd_ph(_mm256_loadu_ph(in + ky * row + (p * stride +
          kx) * BLOCK), w, sum[p]);
    }
  Halves joined[PIXELS / 2];
  UNROLL for (int p = 0; p < PIXELS; p += 2) joined[p / 2] = join(sum[p], sum[p + 1]);
  finish_pairs(joined, sink, pixel, valid, activation);
}

template <int KERNEL, int STRIDE, class Sink>
static void row_of_singles(const Depthwise& layer, const Half* in, size_t row, const Half* weight, Halves bias,
    const Sink& sink, int pixel, int width, Activation activation) {
  int stride = STRIDE ? STRIDE : layer.stride_x;
  for (int x = 0; x < width;) {
    const Half* at = in + (size_t)x * stride * BLOCK;
    int left = width - x;
    if (left >= 13) singles<KERNEL, STRIDE, 14>(layer, at, row, weight, bias, sink, pixel + x, std::min(left, 14),
        activation), x += 14;
    else singles<KERNEL, STRIDE, 4>(layer, at, row, weight, bias, sink, pixel + x, std::min(left, 4), activation), x += 4;
  }
}

// As `depthwise` of depthwise.h; weights [channels/16][kernel][kernel][2][16], twice the same, and the bias behind them.
template <class Sink>
static void depthwise16(const Depthwise& layer, const Map<Half>& map, int block, int from, int to, int width,
    Activation activation, const Sink& sink) {
  int taps = layer.kernel * layer.kernel, halo = layer.kernel / 2;
  const Half* weight = layer.halves.data() + (size_t)block * (taps + 1) * 2 * BLOCK;
  Halves bias = load_pair(weight + taps * 2 * BLOCK);
  for (int y = from; y < to;) {
    const Half* in = map.at(block, y * layer.stride_y - halo, -halo);
    int pixel = (y - from) * width;
    bool by_twos = y + 2 <= to && layer.stride_y == 1 && layer.stride_x == 1;
    if (layer.kernel == 3 && by_twos) rows_of_pairs<3, 2>(in, map.row, weight, bias, sink, pixel, width, activation), y += 2;
    else if (layer.kernel == 5 && by_twos) rows_of_pairs<5, 2>(in, map.row, weight, bias, sink, pixel, width, activation), y += 2;
    else if (layer.kernel == 3 && layer.stride_x == 1) rows_of_pairs<3, 1>(in, map.row, weight, bias, sink, pixel, width,
        activation), y++;
    else if (layer.kernel == 5 && layer.stride_x == 1) rows_of_pairs<5, 1>(in, map.row, weight, bias, sink, pixel, width,
        activation), y++;
    else if (layer.kernel == 3 && layer.stride_x == 2) row_of_singles<3, 2>(layer, in, map.row, weight, bias, sink, pixel,
        width, activation), y++;
    else if (layer.kernel == 5 && layer.stride_x == 2) row_of_singles<5, 2>(layer, in, map.row, weight, bias, sink, pixel,
        width, activation), y++;
    else row_of_singles<0, 0>(layer, in, map.row, weight, bias, sink, pixel, width, activation), y++;
  }
}

inline void pack_halves(Depthwise& layer) {
  int taps = layer.kernel * layer.kernel;
  layer.halves = Buffer<Half>((size_t)blocks(layer.channels) * (taps + 1) * 2 * BLOCK);
  for (int block = 0; block < blocks(layer.channels); block++)
    for (int tap = 0; tap <= taps; tap++)
      for (int twice = 0; twice < 2; twice++) {
        const float* from = tap < taps ? layer.weight.data() + ((size_t)block * taps + tap) * BLOCK : layer.bias.data() +
            block * BLOCK;
        store(layer.halves.data() + ((size_t)(block * (taps + 1) + tap) * 2 + twice) * BLOCK, load(from));
      }
}

}  // namespace lcnet
#endif
