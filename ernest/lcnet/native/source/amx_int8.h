// Pointwise convolution in 8 bits with the tile registers of AMX: from strips of halves, 32 values at a time.
#pragma once

#include "amx.h"
#include "int8.h"

#if defined(__AMX_INT8__) && defined(__AVX512FP16__)
namespace lcnet {

// Packing keeps the quads of two blocks of channels in pairs; rows of fewer than four blocks have gaps, which are zeros.
struct InPairs {
  static int place(int block, int quad, int) { return block / 2 * 8 + quad / 2 * 4 + block % 2 * 2 + quad % 2; }
};

// ------------------------------------------------------------------------------------------------ pixels

// The largest of the sixteen halves of each of sixteen pixels, which come in pairs.
INLINE __m256h largest_of_pixels(const Halves (&pairs)[8]) {
  auto as_halves = [](__m512i x) __attribute__((always_inline)) { return (Halves)x; };
  __m512i fours[4], eights[2];
  UNROLL for (int i = 0; i < 4; i++) {
    const __m512i a = (__m512i)pairs[2 * i], b = (__m512i)pairs[2 * i + 1];
    fours[i] = (__m512i)_mm512_max_ph(as_halves(_mm512_unpacklo_epi32(a, b)), as_halves(_mm512_unpackhi_epi32(a, b)));
  }
  UNROLL for (int i = 0; i < 2; i++) {
    const __m512i a = fours[2 * i], b = fours[2 * i + 1];
    eights[i] = (__m512i)_mm512_max_ph(as_halves(_mm512_unpacklo_epi64(a, b)), as_halves(_mm512_unpackhi_epi64(a, b)));
  }
  // Two halves are left of every pixel: in the four parts of a register, those of pixels 0 2 4 6, 1 3 5 7, 8 10 12 14, 9 11 13 15.
  const Halves rest = _mm512_max_ph(as_halves(_mm512_shuffle_i32x4(eights[0], eights[1], 0x88)), as_halves(_mm512_shuffle_i32x4(eights[0], eights[1], 0xdd)));
  const Halves both = _mm512_max_ph(rest, as_halves(_mm512_srli_epi32((__m512i)rest, 16)));
  const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  return (__m256h)_mm512_cvtepi32_epi16(_mm512_permutexvar_epi32(order, (__m512i)both));
}

// Strips of halves [channels/16][plane/16 pixels][16], times the gate of squeeze-and-excite if there is one.
template <bool GATED> struct HalfValues {
  const Half* data;
  size_t plane;
  const float* gates;
  INLINE_MEMBER Halves gate(int block) const {
    if (!GATED) return Halves{};
    const __m256h one = _mm512_cvtxps_ph((__m512)load(gates + block * BLOCK));
    return join(one, one);
  }
  // Two pixels.
  INLINE_MEMBER Halves at(int block, int pixel, Halves gate) const {
    const Halves pair = load_pair(data + block * plane + (size_t)pixel * BLOCK);
    return GATED ? _mm512_mul_ph(pair, gate) : pair;
  }
};

// What makes codes of sixteen pixels: two pixels a register, the same number in all channels.
struct Gains {
  Halves gain[8], shift[8];
};

// Rows of pixels [from, to), at most sixteen, from up to four blocks of channels.
template <int COUNT, bool GATED>
static void code_rows(const HalfValues<GATED>& values, int first, const Gains& gains, int from, int to, uint8_t* codes) {
  Halves gate[COUNT];
  UNROLL for (int b = 0; b < COUNT; b++) gate[b] = values.gate(first + b);
  for (int pixel = from, pair = 0; pixel < to; pixel += 2, pair++) {
    __m512i code[4] = {};
    UNROLL for (int b = 0; b < COUNT; b++)
      code[b] = _mm512_cvtph_epi16(_mm512_fmadd_ph(values.at(first + b, pixel, gate[b]), gains.gain[pair], gains.shift[pair]));
    const __m512i front = _mm512_packus_epi16(code[0], code[1]), back = _mm512_packus_epi16(code[2], code[3]);
    uint8_t* row = codes + (size_t)pixel * ROW;
    store_low(row, front), store_low(row + ROW / 2, back);
    if (pixel + 1 < to) store_high(row + ROW, front), store_high(row + ROW + ROW / 2, back);
  }
}

// Pixels [from, to) to codes [channels/64][plane/64 pixels][64] and one scale a pixel. Sixteen pixels at a time, so that they
// are in the cache when they are read again. Up to 15 pixels after the last are looked at and change nothing.
// The gain 255 / (max + floor) is rounded to a half, and the scale is what belongs to the rounded gain.
template <bool GATED>
static void quantise(const HalfValues<GATED>& values, int blocks, float floor, int from, int to, uint8_t* codes, size_t plane, float* scales) {
  for (int first = from; first < to; first += 16) {
    const int last = std::min(first + 16, to);
    Halves top[8] = {};
    for (int b = 0; b < blocks; b++) {
      const Halves gate = values.gate(b);
      UNROLL for (int p = 0; p < 8; p++) top[p] = _mm512_max_ph(top[p], values.at(b, first + 2 * p, gate));
    }
    const __m512 range = _mm512_add_ps(_mm512_cvtxph_ps(largest_of_pixels(top)), _mm512_set1_ps(floor));
    const __m256h gain = _mm512_cvtxps_ph(_mm512_min_ps(_mm512_div_ps(_mm512_set1_ps(255), range), _mm512_set1_ps(65504)));
    const __m512 rounded = _mm512_cvtxph_ps(gain);
    _mm512_mask_storeu_ps(scales + first, (__mmask16)((1 << (last - first)) - 1), _mm512_div_ps(_mm512_set1_ps(1), rounded));
    const __m256h shift = _mm512_cvtxps_ph(_mm512_mul_ps(rounded, _mm512_set1_ps(floor)));
    Gains gains;
    UNROLL for (int p = 0; p < 8; p++) {
      const __m512i two = _mm512_inserti64x4(_mm512_set1_epi16((short)(2 * p)), _mm256_set1_epi16((short)(2 * p + 1)), 1);
      gains.gain[p] = (Halves)_mm512_permutexvar_epi16(two, (__m512i)join(gain, gain));
      gains.shift[p] = (Halves)_mm512_permutexvar_epi16(two, (__m512i)join(shift, shift));
    }
    for (int b = 0; b < blocks; b += 4) {
      uint8_t* row = codes + b / 4 * plane;
      if (blocks - b >= 4) code_rows<4>(values, b, gains, first, last, row);
      else if (blocks - b == 3) code_rows<3>(values, b, gains, first, last, row);
      else if (blocks - b == 2) code_rows<2>(values, b, gains, first, last, row);
      else code_rows<1>(values, b, gains, first, last, row);
    }
  }
}

// ------------------------------------------------------------------------------------------------ products

// The sums of a tile of pixels and a block of outputs, and what is still to be done with them.
template <class T> struct Waiting {
  alignas(64) int32_t sums[16][BLOCK];
  const float *constants, *scales;
  const int32_t* place;
  T* to;
  int pixels = 0;

  template <Activation A> INLINE_MEMBER void finish() const {
    for (int p = 0; p < pixels; p += 2) {
      const Vector one = decoded(load_integers(sums[p]), scales[p], constants), two = decoded(load_integers(sums[p + 1]), scales[p + 1], constants);
      const __m512i pair = encoded(activated<A>(join(_mm512_cvtxps_ph((__m512)one), _mm512_cvtxps_ph((__m512)two))), to);
      store_low(to + place[p], pair);
      if (p + 1 < pixels) store_high(to + place[p + 1], pair);
    }
  }
};
// Of a group: [tile of pixels][block].
template <class T> struct Group {
  Waiting<T> part[2][2];

  // The share of one row of weights: when the last row is multiplied, all four are finished.
  template <Activation A> INLINE_MEMBER void finish(int row, int rows) const {
    for (int i = 4 * row / rows; i < 4 * (row + 1) / rows; i++) part[i / 2][i % 2].template finish<A>();
  }
};

// Finding the scales of fewer inputs costs more than bf16 products of them.
struct CodeTiles : Hybrid<Tiles, InPairs, 128> {
  static constexpr int UNIT = 32;
  static constexpr size_t STRIP = 32 << 10;

  static void prepare(const Half* middle, size_t plane, const float* gate, const Operand& operand, int channels, int from, int to, Activation activation) {
    if (!in_codes(channels)) return Tiles::prepare(middle, plane, gate, operand.inner, channels, from, to, activation);
    const float floor = floor_of(activation);
    if (gate) quantise(HalfValues<true>{middle, plane, gate}, blocks(channels), floor, from, to, operand.codes, operand.plane, operand.scales);
    else quantise(HalfValues<false>{middle, plane, gate}, blocks(channels), floor, from, to, operand.codes, operand.plane, operand.scales);
  }

  // The products of a group, while the sums of an earlier one become outputs: both units of the core are busy.
  template <Activation A, bool SECOND, bool BOTH, class T>
  INLINE void group(const uint8_t* codes, size_t plane, const int8_t* weight, int rows, const Group<T>& before, Group<T>& now) {
    clear_tile<0>();
    if (BOTH) clear_tile<1>();
    if (SECOND) clear_tile<2>();
    if (SECOND && BOTH) clear_tile<3>();
    for (int row = 0; row < rows; row++, codes += plane, weight += 2 * BLOCK * ROW) {
      load_tile<4>(codes, ROW);
      load_tile<6>(weight, 2 * ROW);
      multiply_codes<0, 4, 6>();
      if (BOTH) load_tile<7>(weight + ROW, 2 * ROW), multiply_codes<1, 4, 7>();
      if (SECOND) load_tile<5>(codes + 16 * ROW, ROW), multiply_codes<2, 5, 6>();
      if (SECOND && BOTH) multiply_codes<3, 5, 7>();
      before.template finish<A>(row, rows);
    }
    store_tile<0>(now.part[0][0].sums);
    if (BOTH) store_tile<1>(now.part[0][1].sums);
    if (SECOND) store_tile<2>(now.part[1][0].sums);
    if (SECOND && BOTH) store_tile<3>(now.part[1][1].sums);
  }

  template <Activation A, class T>
  static void multiply(const Weights& layer, const Operand& operand, int from, int to, int low, int high, const Target<T>& out) {
    Group<T> parts[2];
    int turn = 0;
    shape_tiles(TileShapes());
    for (int p = low; p < high; p++) {
      const bool both = blocks(layer.out) - 2 * p > 1;
      const int8_t* weight = layer.coded.panel(p);
      for (int pixel = from; pixel < to; pixel += 32, turn = 1 - turn) {
        Group<T>&now = parts[turn], &before = parts[1 - turn];
        const uint8_t* codes = operand.codes + (size_t)pixel * ROW;
        const bool second = to - pixel > 16;
        if (second && both) group<A, true, true>(codes, operand.plane, weight, layer.coded.rows, before, now);
        else if (second) group<A, true, false>(codes, operand.plane, weight, layer.coded.rows, before, now);
        else if (both) group<A, false, true>(codes, operand.plane, weight, layer.coded.rows, before, now);
        else group<A, false, false>(codes, operand.plane, weight, layer.coded.rows, before, now);
        for (int i = 0; i < 4; i++) {
          Waiting<T>& part = now.part[i / 2][i % 2];
          const int first = pixel + i / 2 * 16;
          part.pixels = i % 2 <= both ? std::clamp(to - first, 0, 16) : 0;
          part.constants = layer.coded.constants_of(2 * p + i % 2);
          part.scales = operand.scales + first, part.place = out.place + first, part.to = out.at(2 * p + i % 2);
        }
      }
    }
    parts[1 - turn].template finish<A>(0, 1);
    release_tiles();
  }

  template <class T>
  static void product(const Weights& layer, const Operand& operand, int from, int to, int low, int high, const Target<T>& out, Activation activation) {
    if (!in_codes(layer.in)) return Tiles::product(layer.inner, operand.inner, from, to, low, high, out, activation);
    choose(activation, [&](auto choice) { multiply<choice.value>(layer, operand, from, to, low, high, out); });
  }
};

}  // namespace lcnet
#endif
