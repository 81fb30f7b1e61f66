// Pointwise convolution in 8 bits with vpdpbusd, of AVX-512 or of AVX2: from strips of fp32, and tiles in vector registers.
#pragma once

#include "bfloat16.h"
#include "int8.h"
#include "tile.h"

#if defined(LCNET_CODES)
namespace lcnet {

#if defined(__AVX512F__)
// Packing four blocks of channels into a row leaves the first quad of every block, then the second of every block, ...;
// fewer blocks are closed up.
struct Closed {
  static int place(int block, int quad, int blocks) { return quad * blocks + block; }
};

// ------------------------------------------------------------------------------------------------ pixels

// The largest lane of each of 16 vectors.
INLINE __m512 largest_lanes(const __m512 (&of)[16]) {
  __m512 pairs[8], quads[4];
  UNROLL for (int i = 0; i < 8; i++)
    pairs[i] = _mm512_max_ps(_mm512_unpacklo_ps(of[2 * i], of[2 * i + 1]), _mm512_unpackhi_ps(of[2 * i], of[2 * i + 1]));
  UNROLL for (int i = 0; i < 4; i++) {
    __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
    quads[i] = _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  __m512 low = _mm512_max_ps(_mm512_shuffle_f32x4(quads[0], quads[1], 0x44), _mm512_shuffle_f32x4(quads[0], quads[1], 0xee));
  __m512 high = _mm512_max_ps(_mm512_shuffle_f32x4(quads[2], quads[3], 0x44), _mm512_shuffle_f32x4(quads[2], quads[3], 0xee));
  return _mm512_max_ps(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xdd));
}

// Values of pixels: [channels/16][plane/16 pixels][16], times the gate of squeeze-and-excite if there is one.
template <bool GATED> struct Values {
  const float* data;
  size_t plane;
  const float* gate;
  INLINE_MEMBER __m512 at(int block, int pixel) const {
    Vector value = load(data + block * plane + (size_t)pixel * BLOCK);
    return (__m512)(GATED ? value * load(gate + block * BLOCK) : value);
  }
};

// The codes of up to four blocks of channels, from `first` on, of pixels [from, to).
template <int COUNT, bool GATED>
static void code_rows(const Values<GATED>& values, int first, const float* gain, const float* shift, int from, int to, uint8_t* codes) {
  alignas(64) int32_t order[QUADS] = {};
  for (int quad = 0; quad < 4; quad++)
    for (int block = 0; block < COUNT; block++) order[Closed::place(block, quad, COUNT)] = quad * 4 + block;
  const __m512i closed = _mm512_load_si512(order);
  for (int p = from; p < to; p++) {
    const __m512 by = _mm512_set1_ps(gain[p - from]), plus = _mm512_set1_ps(shift[p - from]);
    __m512i code[4] = {};
    UNROLL for (int b = 0; b < COUNT; b++) code[b] = _mm512_cvtps_epi32(_mm512_fmadd_ps(values.at(first + b, p), by, plus));
    __m512i row = _mm512_packus_epi16(_mm512_packus_epi32(code[0], code[1]), _mm512_packus_epi32(code[2], code[3]));
    if (COUNT < 4) row = _mm512_maskz_permutexvar_epi32((__mmask16)((1 << 4 * COUNT) - 1), closed, row);
    _mm512_store_si512(codes + (size_t)p * ROW, row);
  }
}

// Pixels [from, to) to codes [channels/64][plane/64 pixels][64] and one scale a pixel. Sixteen pixels at a time, so that they
// are in the cache when they are read again. Up to 15 pixels after the last are looked at and change nothing.
template <bool GATED>
static void quantise(const Values<GATED>& values, int blocks, float floor, int from, int to, uint8_t* codes, size_t plane, float* scales) {
  alignas(64) float gain[16], shift[16];
  for (int first = from; first < to; first += 16) {
    const int last = std::min(first + 16, to);
    __m512 top[16] = {};
    for (int b = 0; b < blocks; b++) UNROLL for (int p = 0; p < 16; p++) top[p] = _mm512_max_ps(top[p], values.at(b, first + p));
    const __m512 range = _mm512_max_ps(_mm512_add_ps(largest_lanes(top), _mm512_set1_ps(floor)), _mm512_set1_ps(SMALLEST));
    const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(255), range);
    _mm512_mask_storeu_ps(scales + first, (__mmask16)((1 << (last - first)) - 1), _mm512_mul_ps(range, _mm512_set1_ps(1.f / 255)));
    _mm512_store_ps(gain, inverse);
    _mm512_store_ps(shift, _mm512_mul_ps(inverse, _mm512_set1_ps(floor)));
    for (int b = 0; b < blocks; b += 4, codes += plane) {
      if (blocks - b >= 4) code_rows<4>(values, b, gain, shift, first, last, codes);
      else if (blocks - b == 3) code_rows<3>(values, b, gain, shift, first, last, codes);
      else if (blocks - b == 2) code_rows<2>(values, b, gain, shift, first, last, codes);
      else code_rows<1>(values, b, gain, shift, first, last, codes);
    }
    codes -= up(blocks, 4) / 4 * plane;
  }
}

#else

// Packing leaves the halves of eight channels apart, and one instruction brings them together.
struct Closed {
  static int place(int block, int quad, int) { return block * 4 + quad; }
};

template <bool GATED> struct Values {
  const float* data;
  size_t plane;
  const float* gate;
  INLINE_MEMBER Vector at(int block, int part, int pixel) const {
    const Vector value = load(data + block * plane + (size_t)pixel * BLOCK + part);
    return GATED ? value * load(gate + block * BLOCK + part) : value;
  }
};

INLINE float largest_lane(Vector of) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128((__m256)of), _mm256_extractf128_ps((__m256)of, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

// Pixels [from, to) to codes [channels/64][plane/64 pixels][64] and one scale a pixel, a pixel at a time.
template <bool GATED>
static void quantise(const Values<GATED>& values, int blocks, float floor, int from, int to, uint8_t* codes, size_t plane, float* scales) {
  const __m256i together = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (int p = from; p < to; p++) {
    Vector low{}, high{};
    for (int b = 0; b < blocks; b++) low = larger(low, values.at(b, 0, p)), high = larger(high, values.at(b, LANES, p));
    const float range = std::max(largest_lane(larger(low, high)) + floor, SMALLEST), inverse = 255 / range;
    scales[p] = range * (1.f / 255);
    const Vector gain = splat(inverse), shift = splat(inverse * floor);
    auto code = [&](int b, int part) __attribute__((always_inline)) {
      if (b >= blocks) return _mm256_setzero_si256();
      return _mm256_cvtps_epi32(_mm256_fmadd_ps((__m256)values.at(b, part, p), (__m256)gain, (__m256)shift));
    };
    for (int b = 0; b < blocks; b += 2) {
      const __m256i one = _mm256_packs_epi32(code(b, 0), code(b, LANES)), two = _mm256_packs_epi32(code(b + 1, 0), code(b + 1, LANES));
      const __m256i row = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(one, two), together);
      _mm256_storeu_si256((__m256i*)(codes + b / 4 * plane + (size_t)p * ROW + b % 4 * BLOCK), row);
    }
  }
}
#endif

// ------------------------------------------------------------------------------------------------ products

#if defined(__AVX512BF16__)
using Narrow = Dots;
#else
using Narrow = Halved;
#endif

struct CodeDots : Hybrid<Narrow, Closed, 32> {
  static constexpr int UNIT = TILE;        // times two vectors of outputs: as many registers as there are hold sums
  static constexpr size_t STRIP = 8 << 10;  // bytes of codes; the fp32 strip that they are made of has four times as many

  // Pixels [from, to) of the strip, times the gate of squeeze-and-excite if there is one.
  static void prepare(const float* middle, size_t plane, const float* gate, const Operand& operand, int channels, int from, int to, Activation activation) {
    if (!in_codes(channels)) return Narrow::prepare(middle, plane, gate, operand.inner, channels, from, to, activation);
    const float floor = floor_of(activation);
    if (gate) quantise(Values<true>{middle, plane, gate}, blocks(channels), floor, from, to, operand.codes, operand.plane, operand.scales);
    else quantise(Values<false>{middle, plane, gate}, blocks(channels), floor, from, to, operand.codes, operand.plane, operand.scales);
  }

  // Pixels, of which `wanted` are stored, times N vectors of outputs. Lies the second in the same block of sixteen?
  static constexpr size_t NEXT = LANES == BLOCK ? ROW : ROW / PARTS;
  template <int PIXELS, int N, class T>
  static __attribute__((noinline)) void tile(const uint8_t* codes, size_t plane, const int8_t* weight, int quads, const float* constants,
                                             const float* scales, const int32_t* place, T* one, T* two, int wanted, Activation activation) {
    Sums<CodeDot, PIXELS, N> sums(CodeDot::Value{}, CodeDot::Value{});
    ROLLED for (; quads > 0; quads -= QUADS, codes += plane) {
      const char *at = (const char*)codes, *const end = at + 4 * std::min(quads, QUADS);
      ROLLED for (; at < end; at += 8, weight += 4 * ROW) {
        sums.add(at, ROW, load_integers(weight), load_integers(weight + NEXT));
        sums.add(at + 4, ROW, load_integers(weight + 2 * ROW), load_integers(weight + 2 * ROW + NEXT));
      }
    }
    choose(activation, [&](auto choice) __attribute__((always_inline)) {
      auto finish = [&](const float* of, T* to) __attribute__((always_inline)) {
        return [=](int p, CodeDot::Value sum) __attribute__((always_inline)) {
          if (p < wanted) store(to + place[p], activated<choice.value>(decoded(sum, scales[p], of)));
        };
      };
      sums.first(finish(constants, one));
      if constexpr (N > 1) sums.second(finish(constants + (LANES == BLOCK ? 2 * BLOCK : LANES), two));
    });
  }

  template <int N, class T> static auto tile_of(int height) {
    if constexpr (TILE == 14) return height > 12 ? tile<14, N, T> : height > 8 ? tile<12, N, T> : height > 4 ? tile<8, N, T> : tile<4, N, T>;
    else return height > 4 ? tile<6, N, T> : height > 2 ? tile<4, N, T> : tile<2, N, T>;
  }

  template <class T>
  static void product(const Weights& layer, const Operand& operand, int from, int to, int low, int high, const Target<T>& out, Activation activation) {
    if (!in_codes(layer.in)) return Narrow::product(layer.inner, operand.inner, from, to, low, high, out, activation);
    // As few tiles as possible, of equal heights.
    const int tiles = (to - from + UNIT - 1) / UNIT, height = (to - from + tiles - 1) / tiles;
    auto run = [&](auto kernel, int block, const int8_t* weight, T* one, T* two) {
      for (int pixel = from; pixel < to; pixel += height)
        kernel(operand.codes + (size_t)pixel * ROW, operand.plane, weight, 4 * blocks(layer.in), layer.coded.constants_of(block),
               operand.scales + pixel, out.place + pixel, one, two, std::min(height, to - pixel), activation);
    };
    for (int p = low; p < high; p++) {
      const bool both = blocks(layer.out) - 2 * p > 1;
      if constexpr (LANES == BLOCK) {
        if (both) run(tile_of<2, T>(height), 2 * p, layer.coded.panel(p), out.at(2 * p), out.at(2 * p + 1));
        else run(tile_of<1, T>(height), 2 * p, layer.coded.panel(p), out.at(2 * p), (T*)nullptr);
      } else {
        for (int b = 0; b <= both; b++)
          run(tile_of<2, T>(height), 2 * p + b, layer.coded.panel(p) + b * ROW, out.at(2 * p + b), out.at(2 * p + b) + LANES);
      }
    }
  }
};

}  // namespace lcnet
#endif
