// Products of small matrices that lie row by row: tiles of the result stay in registers.
#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "vector.h"

namespace ernest {

// A tile of ROWS x (COLUMNS vectors) of C = A B, or of C = A^T B: `a_row` and `a_step` are the distances in A from one row of the
// tile to the next and from one term of the sum to the next.
template <int ROWS, int COLUMNS>
static void tile(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step, float* c, int64_t c_row,
                 int64_t terms, bool add) {
  Vector sums[ROWS][COLUMNS];
  UNROLL for (int i = 0; i < ROWS; ++i) UNROLL for (int j = 0; j < COLUMNS; ++j)
      sums[i][j] = add ? load(c + i * c_row + j * LANES) : Vector{};
  for (int64_t k = 0; k < terms; ++k) {
    Vector right[COLUMNS];
    UNROLL for (int j = 0; j < COLUMNS; ++j) right[j] = load(b + k * b_step + j * LANES);
    UNROLL for (int i = 0; i < ROWS; ++i) {
      const Vector left = splat(a[i * a_row + k * a_step]);
      UNROLL for (int j = 0; j < COLUMNS; ++j) sums[i][j] += left * right[j];
    }
  }
  UNROLL for (int i = 0; i < ROWS; ++i) UNROLL for (int j = 0; j < COLUMNS; ++j) store(c + i * c_row + j * LANES, sums[i][j]);
}

template <int ROWS, int COLUMNS>
static int64_t rows_of_tiles(int64_t row, int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b,
                             int64_t b_step, float* c, int64_t c_row, int64_t terms, bool add) {
  for (; row + ROWS <= rows; row += ROWS)
    tile<ROWS, COLUMNS>(a + row * a_row, a_row, a_step, b, b_step, c + row * c_row, c_row, terms, add);
  return row;
}

template <int COLUMNS>
static void panel(int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step, float* c,
                  int64_t c_row, int64_t terms, bool add) {
  constexpr int FULL = COLUMNS >= 4 ? 6 : COLUMNS == 3 ? 8 : LANES == 16 ? 12 : 6;
  int64_t row = rows_of_tiles<FULL, COLUMNS>(0, rows, a, a_row, a_step, b, b_step, c, c_row, terms, add);
  row = rows_of_tiles<4, COLUMNS>(row, rows, a, a_row, a_step, b, b_step, c, c_row, terms, add);
  row = rows_of_tiles<2, COLUMNS>(row, rows, a, a_row, a_step, b, b_step, c, c_row, terms, add);
  rows_of_tiles<1, COLUMNS>(row, rows, a, a_row, a_step, b, b_step, c, c_row, terms, add);
}

static void product(int64_t rows, int64_t columns, int64_t terms, const float* a, int64_t a_row, int64_t a_step, const float* b,
                    int64_t b_step, float* c, int64_t c_row, bool add) {
  int64_t column = 0;
  for (; column + WIDEST * LANES <= columns; column += WIDEST * LANES)
    panel<WIDEST>(rows, a, a_row, a_step, b + column, b_step, c + column, c_row, terms, add);
  if constexpr (WIDEST == 4) {
    for (; column + 2 * LANES <= columns; column += 2 * LANES)
      panel<2>(rows, a, a_row, a_step, b + column, b_step, c + column, c_row, terms, add);
  }
  for (; column < columns; column += LANES)
    panel<1>(rows, a, a_row, a_step, b + column, b_step, c + column, c_row, terms, add);
}

// C[rows, columns] (+)= A[rows, terms] B[terms, columns]; `columns` is a multiple of the lanes.
INLINE void multiply(int64_t rows, int64_t columns, int64_t terms, const float* a, int64_t a_row, const float* b, int64_t b_row,
                     float* c, int64_t c_row, bool add = false) {
  product(rows, columns, terms, a, a_row, 1, b, b_row, c, c_row, add);
}

// C[rows, columns] (+)= A[terms, rows]^T B[terms, columns].
INLINE void multiply_turned(int64_t rows, int64_t columns, int64_t terms, const float* a, int64_t a_row, const float* b,
                            int64_t b_row, float* c, int64_t c_row, bool add = false) {
  product(rows, columns, terms, a, 1, a_row, b, b_row, c, c_row, add);
}

#if defined(__AVX512F__)
// to[columns, rows] = r^T for 16 x 16 words, of which `r` holds the rows.
INLINE void turn_square(__m512i r[16], uint32_t* to, int64_t to_row) {
  __m512i t[16];
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
    _mm512_storeu_si512(to + i * to_row, _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88));
    _mm512_storeu_si512(to + (i + 8) * to_row, _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd));
  }
}

// to[columns, rows] = from[rows, columns]^T for words; both sizes are multiples of 16.
static void turn_words(int64_t rows, int64_t columns, const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row) {
  for (int64_t row = 0; row < rows; row += 16)
    for (int64_t column = 0; column < columns; column += 16) {
      __m512i r[16];
      UNROLL for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(from + (row + i) * from_row + column);
      turn_square(r, to + column * to_row + row, to_row);
    }
}
#endif

// to[columns, rows] = from[rows, columns]^T, in squares that stay in the nearest cache.
static void turn(int64_t rows, int64_t columns, const float* from, int64_t from_row, float* to, int64_t to_row) {
#if defined(__AVX512F__)
  if (rows % BLOCK == 0 && columns % BLOCK == 0)
    return turn_words(rows, columns, (const uint32_t*)from, from_row, (uint32_t*)to, to_row);
#endif
  for (int64_t row = 0; row < rows; row += BLOCK)
    for (int64_t column = 0; column < columns; column += BLOCK) {
      const int64_t rows_here = rows - row < BLOCK ? rows - row : BLOCK;
      const int64_t columns_here = columns - column < BLOCK ? columns - column : BLOCK;
      for (int64_t j = 0; j < columns_here; ++j)
        for (int64_t i = 0; i < rows_here; ++i) to[(column + j) * to_row + row + i] = from[(row + i) * from_row + column + j];
    }
}

}  // namespace ernest
