// The experts of experts.h with products of bfloat16 in AMX's tiles, whose sums stay float.
//
// Rows of a chunk are filled up to a multiple of TILE with zeros, where they are summed over.
#pragma once

#include "experts.h"
#include "tiles.h"

#if defined(ERNEST_TILES)
namespace ernest {

INLINE bool tiles_fit(const Sizes& s) { return s.width % TILE == 0 && s.hidden % TILE == 0; }

// Rows of tokens as floats, zeros behind them: [filled, D].
INLINE void gather_filled(const float* from, const int32_t* order, int64_t rows, int64_t filled, const Sizes& s, float* to) {
  gather(from, order, rows, s, to);
  memset(to + rows * s.width, 0, (filled - rows) * s.width * 4);
}

// A[rows, columns] as the operand A of a sum over rows: to[columns, rows] in bfloat16, by way of `words`.
INLINE void turned_pairs(int64_t rows, int64_t columns, const float* from, uint32_t* words, bf16* to) {
  pairs(rows, columns, from, words);
  turn_words(rows / 2, columns, words, columns, (uint32_t*)to, rows / 2);
}

// W[rows, columns] as the operand B of a product with W^T: [columns / 2, rows] words, by way of `narrow`.
INLINE void pairs_of_turned(int64_t rows, int64_t columns, const float* from, bf16* narrow, uint32_t* to) {
  narrowed(rows * columns, from, narrow);
  turn_words(rows, columns / 2, (const uint32_t*)narrow, columns / 2, to, rows);
}

// `inner` has room for TILE rows more than there are choices.
static void experts_tiles(const Sizes& s, const float* x, const float* gate, const int32_t* order, const int32_t* first,
                          const float* w_in, const float* w_out, float* inner, float* y) {
  const int64_t D = s.width, H = s.hidden;
  float* rows_of = buffers().get(1, ROWS * D);
  float* scaled = buffers().get(2, ROWS * H);
  bf16* left = (bf16*)buffers().get(3, ROWS * D);
  uint32_t* in_pairs = (uint32_t*)buffers().get(4, D * H);
  uint32_t* out_pairs = (uint32_t*)buffers().get(5, D * H);
  const TileRegisters registers;
  for (int64_t e = 0; e < s.experts; ++e) {
    if (first[e] == first[e + 1]) continue;
    pairs(D, 2 * H, w_in + e * D * 2 * H, in_pairs);
    pairs(H, D, w_out + e * H * D, out_pairs);
    for (int64_t start = first[e]; start < first[e + 1]; start += ROWS) {
      const int64_t rows = first[e + 1] - start < ROWS ? first[e + 1] - start : ROWS, filled = up(rows, TILE);
      float* in = inner + start * 2 * H;
      gather_filled(x, order + start, rows, filled, s, rows_of);
      narrowed(filled * D, rows_of, left);
      tile_product(filled, 2 * H, D, left, D, in_pairs, 2 * H, in, 2 * H);
      for (int64_t r = 0; r < rows; ++r) gated(in + r * 2 * H, H, gate[order[start + r]], scaled + r * H);
      narrowed(filled * H, scaled, left);
      tile_product(filled, D, H, left, H, out_pairs, D, rows_of, D);
      scatter(rows_of, order + start, rows, s, y);
    }
  }
}

static void experts_tiles_back(const Sizes& s, const float* x, const float* gate, const int32_t* order, const int32_t* first,
                               const float* w_in, const float* w_out, const float* inner, const float* y_grad, float* x_grad,
                               float* gate_grad, float* w_in_grad, float* w_out_grad) {
  const int64_t D = s.width, H = s.hidden, wider = D > 2 * H ? D : 2 * H;
  float* rows_of = buffers().get(1, ROWS * D);
  float* scaled = buffers().get(2, ROWS * H);
  float* grad_rows = buffers().get(3, ROWS * D);
  float* hidden_grad = buffers().get(4, ROWS * H);
  float* inner_grad = buffers().get(5, ROWS * 2 * H);
  uint32_t* out_turned = (uint32_t*)buffers().get(6, D * H);
  uint32_t* in_turned = (uint32_t*)buffers().get(7, D * H);
  bf16* narrow = (bf16*)buffers().get(8, D * 2 * H);
  uint32_t* words = (uint32_t*)buffers().get(9, ROWS * wider);
  bf16* left = (bf16*)buffers().get(10, ROWS * wider);
  uint32_t* right = (uint32_t*)buffers().get(11, ROWS * wider);
  const TileRegisters registers;
  for (int64_t e = 0; e < s.experts; ++e) {
    float *grad_in = w_in_grad + e * D * 2 * H, *grad_out = w_out_grad + e * H * D;
    if (first[e] == first[e + 1]) {
      memset(grad_in, 0, D * 2 * H * 4);
      memset(grad_out, 0, D * H * 4);
      continue;
    }
    pairs_of_turned(H, D, w_out + e * H * D, narrow, out_turned);
    pairs_of_turned(D, 2 * H, w_in + e * D * 2 * H, narrow, in_turned);
    for (int64_t start = first[e]; start < first[e + 1]; start += ROWS) {
      const int64_t rows = first[e + 1] - start < ROWS ? first[e + 1] - start : ROWS, filled = up(rows, TILE);
      const bool add = start != first[e];
      gather_filled(y_grad, order + start, rows, filled, s, grad_rows);
      narrowed(filled * D, grad_rows, left);
      tile_product(filled, H, D, left, D, out_turned, H, hidden_grad, H);
      for (int64_t r = 0; r < rows; ++r)
        gate_grad[order[start + r]] = gated_back(inner + (start + r) * 2 * H, H, gate[order[start + r]], hidden_grad + r * H,
                                                 scaled + r * H, inner_grad + r * 2 * H);
      memset(scaled + rows * H, 0, (filled - rows) * H * 4);
      memset(inner_grad + rows * 2 * H, 0, (filled - rows) * 2 * H * 4);
      turned_pairs(filled, H, scaled, words, left);
      pairs(filled, D, grad_rows, right);
      tile_product(H, D, filled, left, filled, right, D, grad_out, D, add);
      gather_filled(x, order + start, rows, filled, s, rows_of);
      turned_pairs(filled, D, rows_of, words, left);
      pairs(filled, 2 * H, inner_grad, right);
      tile_product(D, 2 * H, filled, left, filled, right, 2 * H, grad_in, 2 * H, add);
      narrowed(filled * 2 * H, inner_grad, left);
      tile_product(filled, D, 2 * H, left, 2 * H, in_turned, D, rows_of, D);
      scatter(rows_of, order + start, rows, s, x_grad);
    }
  }
}

}  // namespace ernest
#endif
