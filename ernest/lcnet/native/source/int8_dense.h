// Fully connected layers with weights of 8 bits and vectors of 16: reading the weights decides how long a layer takes, so
// the second product that 16 bits need is free.
#pragma once

#include "dense.h"
#include "vnni.h"

#if defined(LCNET_CODES)
namespace lcnet {

// Codes [out/16][in/4][16][4]. A vector becomes codes of 16 bits, x = s q + low, and an output is
// s u (q . w) + low u sum(w) + bias; `sum` holds u sum(w).
template <> struct Dense<int8_t> {
  int in = 0, out = 0, depth = 0;
  Buffer<int8_t> weight;
  Buffer<float> bias, scale, sum;
  size_t bytes() const { return (size_t)blocks(out) * depth * BLOCK; }
};

template <> inline Dense<int8_t> pack_dense<int8_t>(const LinearValues& from) {
  Dense<int8_t> to;
  to.in = from.in, to.out = from.out, to.depth = up(from.in, BLOCK);
  to.weight = Buffer<int8_t>((size_t)blocks(from.out) * to.depth * BLOCK);
  to.bias = padded(from.bias, from.out), to.scale = padded(nullptr, from.out), to.sum = padded(nullptr, from.out);
  std::vector<int8_t> codes(from.in);
  for (int o = 0; o < from.out; o++) {
    to.scale[o] = code_weights(from.weight + (size_t)o * from.in, from.in, codes.data());
    int32_t sum = 0;
    for (int k = 0; k < from.in; k++) {
      to.weight[((size_t)o / BLOCK * to.depth + k / 4 * 4) * BLOCK + o % BLOCK * 4 + k % 4] = codes[k];
      sum += codes[k];
    }
    to.sum[o] = to.scale[o] * (float)sum;
  }
  return to;
}

// What lies behind the codes of a row, which are half as long as its floats.
struct Range {
  float scale, low;
};

// In place: of every 16 floats, 16 low bytes and 16 high bytes; then the range. Padding takes part in neither.
inline void round_inputs(const Dense<int8_t>& layer, float* in, size_t in_row, int rows) {
  for (int r = 0; r < rows; r++, in += in_row) {
    const float low = *std::min_element(in, in + layer.in), high = *std::max_element(in, in + layer.in);
    const Range range{std::max(high - low, SMALLEST) / 65535, low};
    const Vector gain = splat(65535 / std::max(high - low, SMALLEST));
    for (int k = 0; k < layer.depth; k += BLOCK) {
      uint8_t bytes[2 * BLOCK];
      for (int i = 0; i < BLOCK; i += LANES) {
        const Vector q = (load(in + k + i) - splat(low)) * gain;
        int32_t codes[LANES];
        const Integers rounded = rounded_integers(q);
        std::memcpy(codes, &rounded, sizeof codes);
        for (int j = 0; j < LANES; j++) {
          const int32_t code = std::clamp(codes[j], 0, 65535);
          bytes[i + j] = (uint8_t)code, bytes[BLOCK + i + j] = (uint8_t)(code >> 8);
        }
      }
      std::memcpy(in + k / 2, bytes, sizeof bytes);
    }
    std::memcpy(in + layer.depth / 2, &range, sizeof range);
  }
}

template <int R>
static void dense_rows(const Dense<int8_t>& layer, const float* in, size_t in_row, float* out, size_t out_row, int block, Activation activation) {
  for (int part = 0; part < BLOCK; part += LANES) {
    const int8_t* weight = layer.weight.data() + (size_t)block * layer.depth * BLOCK + 4 * part;
    Integers low[R][2] = {}, high[R][2] = {};
    ROLLED for (int k = 0; k < layer.depth; k += BLOCK, weight += BLOCK * BLOCK) {
      UNROLL for (int quad = 0; quad < 4; quad++) {
        prefetch(weight + quad * ROW + AHEAD);
        const Integers w = load_integers(weight + quad * ROW);
        UNROLL for (int r = 0; r < R; r++) {
          const int32_t* codes = (const int32_t*)(in + r * in_row) + k / 2 + quad;
          low[r][quad % 2] = CodeDot::add(low[r][quad % 2], splat_four_bytes(codes), w);
          high[r][quad % 2] = CodeDot::add(high[r][quad % 2], splat_four_bytes(codes + 4), w);
        }
      }
    }
    const int at = block * BLOCK + part;
    const Vector scale = load(layer.scale.data() + at), sum = load(layer.sum.data() + at), bias = load(layer.bias.data() + at);
    choose_any(activation, [&](auto choice) __attribute__((always_inline)) {
      UNROLL for (int r = 0; r < R; r++) {
        Range range;
        std::memcpy(&range, in + r * in_row + layer.depth / 2, sizeof range);
        const Vector codes = as_floats(high[r][0] + high[r][1]) * splat(256) + as_floats(low[r][0] + low[r][1]);
        store(out + r * out_row + at, activated<choice.value>(codes * splat(range.scale) * scale + (sum * splat(range.low) + bias)));
      }
    });
  }
}

}  // namespace lcnet
#endif
