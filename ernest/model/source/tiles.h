// Products of bfloat16 in the tile registers of AMX, and what brings their operands into order: C = A B takes A row by row and B
// in pairs of rows, [K / 2, N] words of two numbers each.
#pragma once

#include "products.h"

#if defined(__AMX_BF16__) && defined(__AVX512F__)
#define ERNEST_TILES 1

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

}  // namespace ernest
#endif
