// Fully connected layers on one or a few rows: what counts is to read the weights once, in order.
#pragma once

#include "network.h"

namespace lcnet {

// Weights by blocks of sixteen outputs: [out/16][in][16] floats, or [out/16][in/2][16][2] of bf16.
template <class T> struct Dense {
  int in = 0, out = 0, depth = 0;
  Buffer<T> weight;
  Buffer<float> bias;
  size_t bytes() const { return (size_t)blocks(out) * depth * BLOCK * sizeof(T); }
};

template <class T> Dense<T> pack_dense(const LinearValues& from) {
  constexpr int pack = sizeof(float) / sizeof(T);  // neighbours along the inputs that lie together
  Dense<T> to;
  to.in = from.in, to.out = from.out, to.depth = up(from.in, 4 * pack);
  to.weight = Buffer<T>((size_t)blocks(from.out) * to.depth * BLOCK);
  to.bias = padded(from.bias, from.out);
  for (int o = 0; o < from.out; o++)
    for (int i = 0; i < from.in; i++) {
      T& place = to.weight[((size_t)(o / BLOCK) * to.depth + i / pack * pack) * BLOCK + o % BLOCK * pack + i % pack];
      float value = from.weight[(size_t)o * from.in + i];
      if constexpr (pack == 1) place = value;
      else place = brain(value);
    }
  return to;
}

// Four sums in turn hide the latency of multiply-adds; their order is the same for any number of rows.
constexpr int CHAINS = 4, ROWS = LANES == 16 ? 4 : 2;
constexpr int AHEAD = 4096;  // bytes

template <int R>
static void dense_rows(const Dense<float>& layer, const float* in, size_t in_row, float* out, size_t out_row, int block,
    Activation activation) {
  for (int part = 0; part < BLOCK; part += LANES) {
    const float* weight = layer.weight.data() + (size_t)block * layer.depth * BLOCK + part;
    Vector sum[R][CHAINS] = {};
    UNROLL for (int r = 0; r < R; r++) sum[r][0] = load(layer.bias.data() + block * BLOCK + part);
    ROLLED for (int k = 0; k < layer.depth; k += CHAINS, weight += CHAINS * BLOCK) {
      UNROLL for (int j = 0; j < CHAINS; j++) {
        prefetch((const char*)(weight + j * BLOCK) + AHEAD);
        Vector w = load(weight + j * BLOCK);
        UNROLL for (int r = 0; r < R; r++) sum[r][j] += splat(in[r * in_row + k + j]) * w;
      }
    }
    choose_any(activation, [&](auto choice) __attribute__((always_inline)) {
      UNROLL for (int r = 0; r < R; r++)
        store(out + r * out_row + block * BLOCK + part,
            activated<choice.value>((sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3])));
    });
  }
}

#if !defined(__AVX512BF16__)
// Without such products: the two neighbours of a pair as floats.
template <int R>
static void dense_rows(const Dense<Brain>& layer, const float* in, size_t in_row, float* out, size_t out_row, int block,
    Activation activation) {
  typedef uint32_t Bits __attribute__((vector_size(LANES * 4)));
  typedef uint32_t UnalignedBits __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
  for (int part = 0; part < BLOCK; part += LANES) {
    const Brain* weight = layer.weight.data() + (size_t)block * layer.depth * BLOCK + 2 * part;
    Vector sum[R][CHAINS] = {};
    UNROLL for (int r = 0; r < R; r++) sum[r][0] = load(layer.bias.data() + block * BLOCK + part);
    ROLLED for (int k = 0; k < layer.depth; k += CHAINS, weight += CHAINS * BLOCK) {
      UNROLL for (int j = 0; j < CHAINS; j += 2) {
        prefetch((const char*)(weight + j * BLOCK) + AHEAD);
        const Bits pair = *(const UnalignedBits*)(weight + j * BLOCK);
        const Vector even = (Vector)(pair << 16), odd = (Vector)(pair & 0xffff0000u);
        UNROLL for (int r = 0; r < R; r++) {
          sum[r][j] += splat(in[r * in_row + k + j]) * even;
          sum[r][j + 1] += splat(in[r * in_row + k + j + 1]) * odd;
        }
      }
    }
    choose_any(activation, [&](auto choice) __attribute__((always_inline)) {
      UNROLL for (int r = 0; r < R; r++)
        store(out + r * out_row + block * BLOCK + part,
            activated<choice.value>((sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3])));
    });
  }
}
#else
template <int R>
static void dense_rows(const Dense<Brain>& layer, const float* in, size_t in_row, float* out, size_t out_row, int block,
    Activation activation) {
  const Brain* weight = layer.weight.data() + (size_t)block * layer.depth * BLOCK;
  __m512 sum[R][CHAINS] = {};
  UNROLL for (int r = 0; r < R; r++) sum[r][0] = (__m512)load(layer.bias.data() + block * BLOCK);
  ROLLED for (int k = 0; k < layer.depth; k += 2 * CHAINS, weight += 2 * CHAINS * BLOCK) {
    UNROLL for (int j = 0; j < CHAINS; j++) {
      prefetch((const char*)(weight + 2 * j * BLOCK) + AHEAD);
      __m512bh w = (__m512bh)_mm512_load_si512(weight + 2 * j * BLOCK);
      UNROLL for (int r = 0; r < R; r++) {
        // The inputs were rounded to bf16 in pairs beforehand; a row of them is half as long as one of floats.
        int32_t pair = ((const int32_t*)(in + r * in_row))[k / 2 + j];
        sum[r][j] = _mm512_dpbf16_ps(sum[r][j], (__m512bh)_mm512_set1_epi32(pair), w);
      }
    }
  }
  choose_any(activation, [&](auto choice) __attribute__((always_inline)) {
    UNROLL for (int r = 0; r < R; r++)
      store(out + r * out_row + block * BLOCK,
          activated<choice.value>((Vector)((sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]))));
  });
}
#endif

// In place: rows of floats become rows of bf16, for layers with such weights.
INLINE void round_inputs(const Dense<float>&, float*, size_t, int) {}
#if !defined(__AVX512BF16__)
INLINE void round_inputs(const Dense<Brain>&, float*, size_t, int) {}
#else
INLINE void round_inputs(const Dense<Brain>& layer, float* in, size_t in_row, int rows) {
  for (int r = 0; r < rows; r++)
    for (int k = 0; k < layer.depth; k++) {
      Brain rounded = brain(in[r * in_row + k]);
      std::memcpy((char*)(in + r * in_row) + 2 * k, &rounded, 2);
    }
}
#endif

// out[r] = activation(weight · in[r] + bias). Rows of `in` are as long as the padded depth, zeros there; they may be overwritten.
template <class T, class Team>
static void dense(Team& team, const Dense<T>& layer, float* in, size_t in_row, float* out, size_t out_row, int rows,
    Activation activation) {
  round_inputs(layer, in, in_row, rows);
  int count = blocks(layer.out), tasks = std::min(count, team.threads() == 1 ? 1 : 4 * team.threads());
  team(tasks, [&](int task, int) {
    for (int block = count * task / tasks; block < count * (task + 1) / tasks; block++) {
      int r = 0;
      for (; r + ROWS <= rows; r += ROWS) dense_rows<ROWS>(layer, in + r * in_row, in_row, out + r * out_row, out_row, block,
          activation);
      for (; r < rows; r++) dense_rows<1>(layer, in + r * in_row, in_row, out + r * out_row, out_row, block, activation);
    }
  });
}

}  // namespace lcnet
