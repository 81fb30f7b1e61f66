// The first convolution with tile registers: a tile reads the pixels under sixteen outputs straight from rows of the image.
//
// Rows are turned into bf16 with four channels a pixel, eight bytes. Four pixels from the left one under an output on are
// 16 numbers of a row, and the next output's begin a stride further: that is a tile, with overlapping rows. The weights of
// the fourth pixel, and of channels that the image has not, are zero. One product for each row of the kernel.
#pragma once

#include "amx_registers.h"
#include "stem.h"

#if defined(__AMX_BF16__) && defined(__AVX512FP16__)
namespace lcnet {

struct StemTiles {
  static constexpr int CHANNELS = 4, PIXELS = 16;
  static bool suit(const Stem& stem) { return stem.in <= CHANNELS && stem.stride_x <= 4; }

  // Rows [first, first + count) of an image: [row][1 + width + zeros][4]. Sizes are in numbers.
  static size_t row_size(int width) { return (size_t)(up(width + 1, 16) + 32) * CHANNELS; }
  static void fill(Brain* rows, const float* image, int channels, int height, int width, int first, int count) {
    const __m512i low = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), high = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32((int)0xffff0000);
    for (int r = 0; r < count; r++) {
      Brain* to = rows + r * row_size(width);
      int y = first + r;
      std::memset(to, 0, row_size(width) * sizeof(Brain));
      if (y < 0 || y >= height) continue;
      for (int x = 0; x < width; x += 16) {
        __mmask16 inside = width - x >= 16 ? 0xffff : (__mmask16)((1 << (width - x)) - 1);
        __m512i value[CHANNELS] = {};
        for (int c = 0; c < channels; c++) {
          __m512i bits = (__m512i)_mm512_maskz_loadu_ps(inside, image + ((size_t)c * height + y) * width + x);
          value[c] = _mm512_add_epi32(bits, half);  // to the nearest bf16, which is the upper half
        }
        // Channels 0 and 1 of a pixel in 32 bits, 2 and 3 in the next 32.
        __m512i one = _mm512_or_si512(_mm512_srli_epi32(value[0], 16), _mm512_and_si512(value[1], upper));
        __m512i two = _mm512_or_si512(_mm512_srli_epi32(value[2], 16), _mm512_and_si512(value[3], upper));
        __m512i even = _mm512_unpacklo_epi32(one, two), odd = _mm512_unpackhi_epi32(one, two);
        _mm512_storeu_si512(to + (x + 1) * CHANNELS, _mm512_permutex2var_epi64(even, low, odd));
        _mm512_storeu_si512(to + (x + 9) * CHANNELS, _mm512_permutex2var_epi64(even, high, odd));
      }
    }
  }

  // [out/16][kernel row][8 pairs][16][2]: pair p is channels 2 (p % 2) and the next of pixel p / 2.
  static void pack(Stem& stem) {
    stem.tiles = Buffer<Brain>((size_t)blocks(stem.out) * 3 * 8 * 2 * BLOCK);
    for (int o = 0; o < stem.out; o++)
      for (int c = 0; c < stem.in; c++)
        for (int ky = 0; ky < 3; ky++)
          for (int kx = 0; kx < 3; kx++) {
            size_t row = ((size_t)(o / BLOCK) * 3 + ky) * 8 + 2 * kx + c / 2;
            stem.tiles[(row * BLOCK + o % BLOCK) * 2 + c % 2] = brain(stem.weight[(((size_t)(o / BLOCK) * stem.in + c) * 9 +
                ky * 3 + kx) * BLOCK + o % BLOCK]);
          }
  }

  // Sixteen outputs; those of the group before are finished meanwhile.
  struct Sums {
    alignas(64) float values[2][PIXELS][BLOCK];
    Half* to = nullptr;
    int pixels = 0;

    template <Activation A> INLINE_MEMBER void finish() const {
      const float* two = values[0][0];
      int p = 0;
      for (; p + 2 <= pixels; p += 2, two += 2 * BLOCK) _mm512_storeu_si512(to + p * BLOCK,
          (__m512i)activated<A>(load_pair(two)));
      if (p < pixels) store_low(to + p * BLOCK, (__m512i)activated<A>(load_pair(two)));
    }
  };

  template <Activation A>
  static void rows(const Stem& stem, const Brain* in, int width, int from, int to, const Map<Half>& out) {
    TileShapes shapes;
    shapes.bytes[3] = shapes.bytes[4] = 2 * CHANNELS * 4;                   // 0-1 sums, 3-4 pixels, 5-7 weights
    shapes.rows[5] = shapes.rows[6] = shapes.rows[7] = 8;
    shape_tiles(shapes);
    Sums sums[3];
    int turn = 0;
    size_t row = row_size(width);
    for (int block = 0; block < blocks(stem.out); block++) {
      const Brain* weight = stem.tiles.data() + (size_t)block * 3 * 8 * 2 * BLOCK;
      const float* bias = stem.bias.data() + block * BLOCK;
      load_tile<5>(weight, 64), load_tile<6>(weight + 8 * 2 * BLOCK, 64), load_tile<7>(weight + 2 * 8 * 2 * BLOCK, 64);
      for (int y = from; y < to; y++)
        for (int x = 0; x < out.width; x += 2 * PIXELS, turn = (turn + 1) % 3) {
          const Brain* at = in + (y - from) * stem.stride_y * row + (size_t)x * stem.stride_x * CHANNELS;
          const Brain* next = at + PIXELS * stem.stride_x * CHANNELS;
          long stride = stem.stride_x * CHANNELS * (long)sizeof(Brain);
          bool second = x + PIXELS < out.width;
          load_tile<0>(bias, 0);
          if (second) load_tile<1>(bias, 0);
          load_tile<3>(at, stride), multiply_tiles<0, 3, 5>();
          if (second) load_tile<4>(next, stride), multiply_tiles<1, 4, 5>();
          load_tile<3>(at + row, stride), multiply_tiles<0, 3, 6>();
          if (second) load_tile<4>(next + row, stride), multiply_tiles<1, 4, 6>();
          load_tile<3>(at + 2 * row, stride), multiply_tiles<0, 3, 7>();
          if (second) load_tile<4>(next + 2 * row, stride), multiply_tiles<1, 4, 7>();
          sums[(turn + 1) % 3].template finish<A>();
          Sums& now = sums[turn];
          store_tile<0>(now.values[0]);
          if (second) store_tile<1>(now.values[1]);
          now.to = out.at(block, y, x), now.pixels = std::min(2 * PIXELS, out.width - x);
        }
    }
    for (int i = 1; i < 3; i++) sums[(turn + i) % 3].template finish<A>();
    release_tiles();
  }

  // Output rows [from, to), as `stem_rows` of stem.h.
  static void run(const Stem& stem, const float* image, int height, int width, int from, int to, const Map<Half>& out,
      float* memory, Activation activation) {
    Brain* in = (Brain*)memory;
    fill(in, image, stem.in, height, width, from * stem.stride_y - 1, ImageRows::count(stem, to - from));
    choose(activation, [&](auto choice) { rows<choice.value>(stem, in, width, from, to, out); });
  }
};

}  // namespace lcnet
#endif
