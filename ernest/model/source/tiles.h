// Products of bfloat16 in the tile registers of AMX, and what brings their operands into order: C = A B takes A row by row and B
// in pairs of rows, [K / 2, N] words of two numbers each.
#pragma once

#include "vector.h"

#if defined(__AMX_BF16__) && defined(__AVX512F__)
#define ERNEST_TILES 1
#include <immintrin.h>

namespace ernest {

constexpr int64_t TILE = 32;  // rows and columns of four tiles of the result, and terms of a tile of A

struct TileRegisters {
  TileRegisters() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } shape;
    _tile_loadconfig(&shape);
  }
  ~TileRegisters() { _tile_release(); }
};

// C[rows, columns] (+)= A[rows, terms] B[terms, columns]; all three sizes are multiples of TILE. `a_row`, `c_row` in numbers and
// `b_row` in words are the distances between rows.
static void tile_product(int64_t rows, int64_t columns, int64_t terms, const bf16* a, int64_t a_row, const uint32_t* b,
                         int64_t b_row, float* c, int64_t c_row, bool add = false) {
  for (int64_t column = 0; column < columns; column += TILE)
    for (int64_t row = 0; row < rows; row += TILE) {
      float* to = c + row * c_row + column;
      if (add) {
        _tile_loadd(0, to, c_row * 4);
        _tile_loadd(1, to + 16, c_row * 4);
        _tile_loadd(2, to + 16 * c_row, c_row * 4);
        _tile_loadd(3, to + 16 * c_row + 16, c_row * 4);
      } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      }
      for (int64_t term = 0; term < terms; term += TILE) {
        _tile_loadd(4, a + row * a_row + term, a_row * 2);
        _tile_loadd(5, a + (row + 16) * a_row + term, a_row * 2);
        _tile_loadd(6, b + term / 2 * b_row + column, b_row * 4);
        _tile_loadd(7, b + term / 2 * b_row + column + 16, b_row * 4);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, to, c_row * 4);
      _tile_stored(1, to + 16, c_row * 4);
      _tile_stored(2, to + 16 * c_row, c_row * 4);
      _tile_stored(3, to + 16 * c_row + 16, c_row * 4);
    }
}

// Two rows as words: the first in the lower halves.
INLINE void pair(const float* first, const float* second, int64_t width, uint32_t* to) {
  for (int64_t i = 0; i < width; i += LANES) {
    const Words low = rounded(load(first + i)), high = rounded(load(second + i)) << 16;
    memcpy(to + i, &(const Words&)(low | high), sizeof(Words));
  }
}

// A[rows, width] as [rows / 2, width] words.
static void pairs(int64_t rows, int64_t width, const float* from, uint32_t* to) {
  for (int64_t row = 0; row < rows; row += 2) pair(from + row * width, from + (row + 1) * width, width, to + row / 2 * width);
}

static void narrowed(int64_t count, const float* from, bf16* to) {
  for (int64_t i = 0; i < count; i += LANES) store(to + i, load(from + i));
}

// to[columns, rows] = from[rows, columns]^T for words; both sizes are multiples of 16.
static void turn_words(int64_t rows, int64_t columns, const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row) {
  for (int64_t row = 0; row < rows; row += 16)
    for (int64_t column = 0; column < columns; column += 16) {
      __m512i r[16], t[16];
      UNROLL for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(from + (row + i) * from_row + column);
      UNROLL for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
      }
      UNROLL for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
      }
      UNROLL for (int half = 0; half < 16; half += 8) UNROLL for (int i = 0; i < 4; ++i) {
        t[half + i] = _mm512_shuffle_i32x4(r[half + i], r[half + 4 + i], 0x88);
        t[half + 4 + i] = _mm512_shuffle_i32x4(r[half + i], r[half + 4 + i], 0xdd);
      }
      UNROLL for (int i = 0; i < 8; ++i) {
        // t[i] holds columns i and i + 8 of rows 0 to 7, t[8 + i] those of rows 8 to 15.
        uint32_t* at = to + (column + i) * to_row + row;
        _mm512_storeu_si512(at, _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88));
        _mm512_storeu_si512(at + 8 * to_row, _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd));
      }
    }
}

}  // namespace ernest
#endif
