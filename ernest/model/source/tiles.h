// Products of bfloat16: in the tile registers of AMX, or in vectors where these multiply pairs of bfloat16 faster than floats
// (`build.flags` asks for them only there). Operands of C = A B lie in memory tile by tile, each 1 KB without gaps: a tile
// of A holds 16 rows of 32 terms, a tile of B 16 pairs of terms of 16 columns, [pair, column] words of two numbers. Row by row,
// lines of a tile would lie at distances that share a few places of the nearest cache.
#pragma once

#include "products.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define ERNEST_TILES 1

namespace ernest {

constexpr int64_t TILE = 32;  // rows and columns of four tiles of the result, and terms of a tile

struct alignas(64) Tile {
  uint32_t rows[16][16];
};

#if defined(__AMX_BF16__)
constexpr int64_t GRAIN = TILE;  // rows and terms of products come in as many

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

// C[rows, columns] (+)= A[rows, terms] B[terms, columns], rows and terms multiples of GRAIN, columns of TILE: A [rows / 16,
// terms / 32] tiles, B [columns / 16, terms / 32] tiles, counted up to whole ones, C row by row, its rows `c_row` numbers apart. With
// `past` C is written past the caches, which do not fetch it first: for a result larger than they are.
template <bool past = false>
static void tile_product(int64_t rows, int64_t columns, int64_t terms, const Tile* a, const Tile* b, float* c, int64_t c_row,
                         bool add = false) {
  alignas(64) float square[TILE * TILE];
  const int64_t deep = terms / TILE;
  for (int64_t column = 0; column < columns; column += TILE)
    for (int64_t row = 0; row < rows; row += TILE) {
      float *there = c + row * c_row + column, *to = past ? square : there;
      const int64_t to_row = past ? TILE : c_row;
      const Tile *upper = a + row / 16 * deep, *lower = upper + deep, *left = b + column / 16 * deep, *right = left + deep;
      if (add) {
        _tile_loadd(0, there, c_row * 4);
        _tile_loadd(1, there + 16, c_row * 4);
        _tile_loadd(2, there + 16 * c_row, c_row * 4);
        _tile_loadd(3, there + 16 * c_row + 16, c_row * 4);
      } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      }
      for (int64_t k = 0; k < deep; ++k) {
        _tile_loadd(4, upper + k, 64);
        _tile_loadd(5, lower + k, 64);
        _tile_loadd(6, left + k, 64);
        _tile_loadd(7, right + k, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, to, to_row * 4);
      _tile_stored(1, to + 16, to_row * 4);
      _tile_stored(2, to + 16 * to_row, to_row * 4);
      _tile_stored(3, to + 16 * to_row + 16, to_row * 4);
      if constexpr (past)
        for (int64_t r = 0; r < TILE; ++r) {
          _mm512_stream_ps(there + r * c_row, _mm512_load_ps(square + r * TILE));
          _mm512_stream_ps(there + r * c_row + 16, _mm512_load_ps(square + r * TILE + 16));
        }
    }
}
#else
constexpr int64_t GRAIN = 8;  // rows of two vectors of sums take half of the registers

struct TileRegisters {
  TileRegisters() {}  // vectors need no preparation
};

// The same in vectors.
template <bool past = false>
static void tile_product(int64_t rows, int64_t columns, int64_t terms, const Tile* a, const Tile* b, float* c, int64_t c_row,
                         bool add = false) {
  const int64_t deep = up(terms, TILE) / TILE;
  for (int64_t column = 0; column < columns; column += TILE)
    for (int64_t row = 0; row < rows; row += GRAIN) {
      const Tile *upper = a + row / 16 * deep, *left = b + column / 16 * deep, *right = left + deep;
      float* there = c + row * c_row + column;
      __m512 sums[GRAIN][2];
      UNROLL for (int i = 0; i < GRAIN; ++i) UNROLL for (int j = 0; j < 2; ++j)
          sums[i][j] = add ? _mm512_loadu_ps(there + i * c_row + j * 16) : _mm512_setzero_ps();
      for (int64_t k = 0; k < deep; ++k) {
        const int64_t rest = terms / 2 - k * 16, pairs = rest < 16 ? rest : 16;
        const uint32_t *from = upper[k].rows[row % 16], *first = left[k].rows[0], *second = right[k].rows[0];
        for (const uint32_t* end = from + pairs; from < end; ++from, first += 16, second += 16) {
          const __m512bh near = (__m512bh)_mm512_load_si512(first), far = (__m512bh)_mm512_load_si512(second);
          UNROLL for (int i = 0; i < GRAIN; ++i) {
            const __m512bh both = (__m512bh)_mm512_set1_epi32(int(from[i * 16]));
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], both, near);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], both, far);
          }
        }
      }
      UNROLL for (int i = 0; i < GRAIN; ++i) UNROLL for (int j = 0; j < 2; ++j) {
        if constexpr (past) _mm512_stream_ps(there + i * c_row + j * 16, sums[i][j]);
        else _mm512_storeu_ps(there + i * c_row + j * 16, sums[i][j]);
      }
    }
}
#endif

// 32 numbers in bfloat16, rounded to nearest, ties to even.
INLINE __m512i narrow(Vector first, Vector second) { return (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first); }
INLINE __m512i narrow(const float* from) { return narrow(load(from), load(from + LANES)); }

static void narrowed(int64_t count, const float* from, bf16* to) {
  for (int64_t i = 0; i < count; i += TILE) _mm512_storeu_si512(to + i, narrow(from + i));
}

// W[terms, columns] as B.
static void tiles_of(int64_t terms, int64_t columns, const float* from, Tile* to) {
  alignas(64) uint16_t mixed[32];
  for (int i = 0; i < 32; ++i) mixed[i] = uint16_t(i / 2 + i % 2 * 16);
  const __m512i order = _mm512_load_si512(mixed);
  for (int64_t term = 0; term < terms; term += 2, from += 2 * columns)
    for (int64_t column = 0; column < columns; column += 16)
      _mm512_store_si512(to[column / 16 * (terms / TILE) + term / TILE].rows[term % TILE / 2],
                         _mm512_permutexvar_epi16(order, narrow(load(from + column), load(from + columns + column))));
}

// W[columns, terms] as B of a product with W^T.
static void tiles_of_turned(int64_t columns, int64_t terms, const float* from, Tile* to) {
  for (int64_t column = 0; column < columns; column += 16)
    for (int64_t term = 0; term < terms; term += TILE, ++to) {
      __m512i r[16];
      UNROLL for (int i = 0; i < 16; ++i) r[i] = narrow(from + (column + i) * terms + term);
      turn_square(r, to->rows[0], 16);
    }
}

// Two rows of 32 numbers as words of one number of each: the first 16 columns, and the others.
INLINE void pair(const uint32_t* first, const uint32_t* second, __m512i& low, __m512i& high) {
  const __m512i a = _mm512_load_si512(first), b = _mm512_load_si512(second);
  const __m512i even = _mm512_unpacklo_epi16(a, b), odd = _mm512_unpackhi_epi16(a, b);
  low = _mm512_permutex2var_epi64(even, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), odd);
  high = _mm512_permutex2var_epi64(even, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), odd);
}

// X[rows, columns], tiles of A, as the operands of sums over its rows, with whatever fills up its last tiles: with `turned` X^T as
// A, else X as B.
template <bool turned> static void sums_over_rows(int64_t rows, int64_t columns, const Tile* from, Tile* to) {
  const int64_t wide = columns / TILE, deep = up(rows, TILE) / TILE;
  for (int64_t j = 0; j < deep; ++j)
    for (int64_t k = 0; k < wide; ++k) {
      const Tile *upper = from + 2 * j * wide + k, *lower = upper + wide;
      Tile *first = to + 2 * k * deep + j, *second = first + deep;
      __m512i low[16], high[16];
      UNROLL for (int i = 0; i < 8; ++i) {
        pair(upper->rows[2 * i], upper->rows[2 * i + 1], low[i], high[i]);
        pair(lower->rows[2 * i], lower->rows[2 * i + 1], low[8 + i], high[8 + i]);
      }
      if constexpr (turned) {
        turn_square(low, first->rows[0], 16);
        turn_square(high, second->rows[0], 16);
      } else {
        UNROLL for (int i = 0; i < 16; ++i) {
          _mm512_store_si512(first->rows[i], low[i]);
          _mm512_store_si512(second->rows[i], high[i]);
        }
      }
    }
}

}  // namespace ernest
#endif
