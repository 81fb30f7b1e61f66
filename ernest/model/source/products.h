// Products of small matrices that lie row by row: tiles of the result stay in registers.
#pragma once

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

// to[columns, rows] = from[rows, columns]^T, in squares that stay in the nearest cache.
static void turn(int64_t rows, int64_t columns, const float* from, int64_t from_row, float* to, int64_t to_row) {
  for (int64_t row = 0; row < rows; row += BLOCK)
    for (int64_t column = 0; column < columns; column += BLOCK) {
      const int64_t rows_here = rows - row < BLOCK ? rows - row : BLOCK;
      const int64_t columns_here = columns - column < BLOCK ? columns - column : BLOCK;
      for (int64_t j = 0; j < columns_here; ++j)
        for (int64_t i = 0; i < rows_here; ++i) to[(column + j) * to_row + row + i] = from[(row + i) * from_row + column + j];
    }
}

}  // namespace ernest
