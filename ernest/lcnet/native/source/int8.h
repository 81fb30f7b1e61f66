// Pointwise convolution in 8 bits: pixels are quantised where they are met, weights when the network is packed.
//
// A pixel x, which is a vector over the channels, becomes unsigned codes q with a scale s of its own:
//     x = s q - floor,    s = (max(x, 0) + floor) / 255.
// The floor belongs to the network: .375 after h-swish, whose least value is -.375, and 0 after ReLU. Weights are signed
// codes w with a scale u for every output, so that a product is
//     s u (q . w) + (bias - floor u sum(w)),
// where the bracket is a constant. No pictures are needed to calibrate anything, and a dark pixel is resolved as finely as
// a bright one. Layers of few inputs are left to `Inner`, bf16 or fp32: finding their scales would cost what the product
// saves. This file is what all instructions share; vnni.h and amx_int8.h quantise and multiply.
#pragma once

#include <cmath>

#include "network.h"
#include "tile.h"

#if (defined(__AVX512VNNI__) && defined(__AVX512BW__)) || (defined(__AVXVNNI__) && !defined(__AVX512F__))
#define LCNET_CODES
namespace lcnet {

constexpr int ROW = 64;             // codes of one pixel that lie side by side
constexpr int QUADS = ROW / 4;      // codes are multiplied and summed four at a time
constexpr float SMALLEST = 1e-20f;  // a range that is never zero

INLINE float floor_of(Activation activation) { return activation == Activation::hard_swish ? .375f : 0; }

// ------------------------------------------------------------------------------------------------ weights

// The codes of the weights of one output, from -127 to 127; returns their scale.
inline float code_weights(const float* weight, int inputs, int8_t* codes) {
  float top = SMALLEST;
  for (int k = 0; k < inputs; k++) top = std::max(top, std::fabs(weight[k]));
  const float scale = top / 127;
  for (int k = 0; k < inputs; k++) codes[k] = (int8_t)std::lrint(weight[k] / scale);
  return scale;
}

// Codes [out/32][inputs/64][16 quads][2][16][4] and the constants of every block of outputs: [u][b], b = bias - floor u sum(w).
// Order::place(block, quad, blocks) is where a quad of one of so many blocks of channels lies in its row.
struct CodedWeights {
  int in = 0, out = 0, rows = 0;
  Buffer<int8_t> codes;
  Buffer<float> constants;
  const int8_t* panel(int p) const { return codes.data() + (size_t)p * rows * ROW * 2 * BLOCK; }
  const float* constants_of(int block) const { return constants.data() + (size_t)block * 2 * BLOCK; }

  template <class Order> static CodedWeights pack(const LinearValues& from, float floor) {
    CodedWeights to;
    to.in = from.in, to.out = from.out, to.rows = up(from.in, ROW) / ROW;
    to.codes = Buffer<int8_t>((size_t)up(to.out, 2 * BLOCK) * to.rows * ROW);
    to.constants = Buffer<float>((size_t)up(to.out, 2 * BLOCK) * 2);
    std::vector<int8_t> codes(to.in);
    for (int o = 0; o < to.out; o++) {
      const float scale = code_weights(from.weight + (size_t)o * to.in, to.in, codes.data());
      int32_t sum = 0;
      for (int k = 0; k < to.in; k++) {
        const int row = k / ROW, here = std::min(4, blocks(to.in) - 4 * row);
        const size_t quad = row * QUADS + Order::place(k % ROW / BLOCK, k % BLOCK / 4, here);
        to.codes[(size_t)(o / 32) * to.rows * ROW * 32 + (quad * 2 + o / BLOCK % 2) * ROW + o % BLOCK * 4 + k % 4] = codes[k];
        sum += codes[k];
      }
      float* constant = &to.constants[(size_t)(o / BLOCK) * 2 * BLOCK + o % BLOCK];
      constant[0] = scale, constant[BLOCK] = (from.bias ? from.bias[o] : 0) - floor * scale * (float)sum;
    }
    return to;
  }
};

// Of a sum of products: unsigned codes times signed ones, four at a time.
struct CodeDot {
  using Value = Integers;
  INLINE Value add(Value sum, Integers codes, Integers weights) {
#if defined(__AVX512F__)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(weights));  // GCC 12 moves sums around the intrinsic
    return sum;
#else
    return (Value)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)codes, (__m256i)weights);
#endif
  }
};

INLINE Integers rounded_integers(Vector x) {
#if defined(__AVX512F__)
  return (Integers)_mm512_cvtps_epi32((__m512)x);
#else
  return (Integers)_mm256_cvtps_epi32((__m256)x);
#endif
}
INLINE Vector as_floats(Integers x) { return __builtin_convertvector(x, Vector); }

// From a sum of products of codes to the value before the activation.
INLINE Vector decoded(Integers sum, float scale, const float* constants) {
  return as_floats(sum) * splat(scale) * load(constants) + load(constants + BLOCK);
}

// ------------------------------------------------------------------------------------------------ the precision

// What all ways to multiply codes share; see `Single` for what a precision is. From FEWEST inputs on a layer is in codes.
template <class Inner, class Order, int FEWEST> struct Hybrid {
  using Element = typename Inner::Element;
  using Middle = typename Inner::Middle;
  using Wide = typename Inner::Wide;
  using Head = int8_t;
  static constexpr int panel = 2 * BLOCK;
  static bool in_codes(int channels) { return channels >= FEWEST; }
  static bool direct(int channels) { return !in_codes(channels); }

  struct Weights {
    int in = 0, out = 0;
    CodedWeights coded;
    typename Inner::Weights inner;
    int panels() const { return in_codes(in) ? up(out, panel) / panel : inner.panels(); }
    const void* data() const { return in_codes(in) ? (const void*)coded.codes.data() : inner.data(); }
    size_t bytes() const { return in_codes(in) ? (size_t)panels() * panel * coded.rows * ROW : inner.bytes(); }
  };
  static Weights pack(const LinearValues& from, Activation activation) {
    Weights to;
    to.in = from.in, to.out = from.out;
    if (in_codes(from.in)) to.coded = CodedWeights::pack<Order>(from, floor_of(activation));
    else to.inner = Inner::pack(from, activation);
    return to;
  }

  // Codes [channels/64][pixels][64] and scales [pixels], or what `Inner` multiplies.
  struct Operand {
    typename Inner::Operand inner;
    uint8_t* codes;
    size_t plane;
    float* scales;
    Operand(void* memory, int channels, int pixels)
        : inner(memory, channels, pixels), codes((uint8_t*)memory), plane((size_t)pixels * ROW), scales((float*)(codes + up(channels, ROW) / ROW * plane)) {}
    static size_t bytes(int channels, int pixels) {
      return in_codes(channels) ? (size_t)up(channels, ROW) * pixels + pixels * sizeof(float) : Inner::Operand::bytes(channels, pixels);
    }
    static constexpr int step = Inner::Operand::step;
    auto target(const int32_t* places) const { return inner.target(places); }
    void close(int from, int to) const { inner.close(from, to); }
  };

  static Stem pack_stem(const NetworkValues& from) { return Inner::pack_stem(from); }
  static void stem(const Stem& stem, const float* image, int height, int width, int from, int to, const Map<Element>& out, float* memory, Activation activation) {
    Inner::stem(stem, image, height, width, from, to, out, memory, activation);
  }
  static Depthwise pack_filter(const BlockValues& from) { return Inner::pack_filter(from); }
  static void depthwise(const Depthwise& layer, const Map<Element>& map, int block, int from, int to, int width, Activation activation, const Operand& operand) {
    Inner::depthwise(layer, map, block, from, to, width, activation, operand.inner);
  }
  static void depthwise(const Depthwise& layer, const Map<Element>& map, int block, int from, int to, int width, Activation activation, Middle* middle) {
    Inner::depthwise(layer, map, block, from, to, width, activation, middle);
  }
};

}  // namespace lcnet
#endif
