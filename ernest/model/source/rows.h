// Products whose rows lie anywhere, taken and written by pointers, and products with matrices in panels that fit the nearest cache.
#pragma once

#include "experts.h"

namespace ernest {

constexpr int PANEL = 2 * LANES;  // of columns: a panel of 256 terms stays beside the processor

// A linear layer W [columns, terms] as panels [terms, PANEL] of its columns, and a rest of one vector, filled up with zeros.
static void pack_panels(int64_t columns, int64_t terms, const float* w, float* to) {
  for (int64_t column = 0; column < columns;) {
    const int64_t wide = column + LANES < columns ? PANEL : LANES;
    for (int64_t k = 0; k < terms; ++k)
      for (int64_t j = 0; j < wide; ++j) *to++ = column + j < columns ? w[(column + j) * terms + k] : 0.f;
    column += wide;
  }
}

// C[rows, columns] (+)= A[rows, terms] W^T, with W from `pack_panels`; a row of C has room for whole vectors.
static void multiply_packed(int64_t rows, int64_t columns, int64_t terms, const float* a, int64_t a_row, const float* packed, float* c,
                            int64_t c_row, bool add) {
  int64_t column = 0;
  for (; column + LANES < columns; column += PANEL, packed += terms * PANEL)
    panel<2>(rows, a, a_row, 1, packed, PANEL, c + column, c_row, terms, add);
  if (column < columns) panel<1>(rows, a, a_row, 1, packed, LANES, c + column, c_row, terms, add);
}

// What will be read after the products at hand: so many lines of it are asked for in every step of a sum.
struct Ahead {
  const char *at, *end;
  int64_t lines;

  // Of `size` numbers in so many steps: more than four at once would be waited for.
  static Ahead over(int64_t steps, const float* at, int64_t size) {
    return {(const char*)at, (const char*)(at + size), std::min<int64_t>(4, (size / 16 + steps - 1) / steps)};
  }
};

// ROWS x (COLUMNS vectors) of C (+)= A B, rows of A and C by pointers.
template <int ROWS, int COLUMNS>
static void tile_at(const float* const* a, const float* b, int64_t b_step, float* const* c, int64_t column, int64_t terms, bool add,
                    Ahead& ahead) {
  const float* from[ROWS];
  UNROLL for (int i = 0; i < ROWS; ++i) from[i] = a[i];
  Vector sums[ROWS][COLUMNS];
  UNROLL for (int i = 0; i < ROWS; ++i) UNROLL for (int j = 0; j < COLUMNS; ++j)
      sums[i][j] = add ? load(c[i] + column + j * LANES) : Vector{};
  const int64_t lines = ahead.at < ahead.end ? ahead.lines : 0;
  const char* line = ahead.at;
  for (int64_t k = 0; k < terms; ++k) {
    for (int64_t i = 0; i < lines; ++i, line += 64) __builtin_prefetch(line, 0, 2);
    Vector right[COLUMNS];
    UNROLL for (int j = 0; j < COLUMNS; ++j) right[j] = load(b + k * b_step + j * LANES);
    UNROLL for (int i = 0; i < ROWS; ++i) {
      const Vector left = splat(from[i][k]);
      UNROLL for (int j = 0; j < COLUMNS; ++j) sums[i][j] += left * right[j];
    }
  }
  ahead.at = line;
  UNROLL for (int i = 0; i < ROWS; ++i) UNROLL for (int j = 0; j < COLUMNS; ++j)
      store(c[i] + column + j * LANES, sums[i][j]);
}

constexpr int FULL = WIDEST == 4 ? 6 : 4;  // rows of a tile

template <int COLUMNS>
static void panel_at(int64_t rows, const float* const* a, const float* b, int64_t b_step, float* const* c, int64_t column,
                     int64_t terms, bool add, Ahead& ahead) {
  for (; rows >= FULL; rows -= FULL, a += FULL, c += FULL) tile_at<FULL, COLUMNS>(a, b, b_step, c, column, terms, add, ahead);
  switch (rows) {
    case 5: return tile_at<5, COLUMNS>(a, b, b_step, c, column, terms, add, ahead);
    case 4: return tile_at<4, COLUMNS>(a, b, b_step, c, column, terms, add, ahead);
    case 3: return tile_at<3, COLUMNS>(a, b, b_step, c, column, terms, add, ahead);
    case 2: return tile_at<2, COLUMNS>(a, b, b_step, c, column, terms, add, ahead);
    case 1: return tile_at<1, COLUMNS>(a, b, b_step, c, column, terms, add, ahead);
  }
}

// C[rows] (+)= A[rows] B[terms, columns] for rows by pointers; `columns` is a multiple of the lanes.
static void multiply_at(int64_t rows, int64_t columns, int64_t terms, const float* const* a, const float* b, float* const* c, bool add,
                        Ahead& ahead) {
  int64_t column = 0;
  for (; column + WIDEST * LANES <= columns; column += WIDEST * LANES)
    panel_at<WIDEST>(rows, a, b + column, columns, c, column, terms, add, ahead);
  for (; column + 2 * LANES <= columns; column += 2 * LANES) panel_at<2>(rows, a, b + column, columns, c, column, terms, add, ahead);
  for (; column < columns; column += LANES) panel_at<1>(rows, a, b + column, columns, c, column, terms, add, ahead);
}

// The experts of experts.h without copies: rows are read where tokens stand, and results are added to `y` where they belong. The
// matrices of the next expert are asked for while one computes. `inner` [T k, 2 H].
static void experts_at(const Sizes& s, const float* x, const float* gate, const int32_t* order, const int32_t* first, const float* w_in,
                       const float* w_out, float* inner, float* y) {
  const int64_t D = s.width, H = s.hidden, all = first[s.experts];
  static thread_local std::vector<const float*> from;
  static thread_local std::vector<float*> inside, to;
  static thread_local std::vector<int64_t> used;
  from.resize(all), inside.resize(all), to.resize(all), used.clear();
  for (int64_t c = 0; c < all; ++c) {
    const int64_t token = order[c] / s.choices;
    from[c] = x + token * D, to[c] = y + token * D, inside[c] = inner + c * 2 * H;
  }
  for (int64_t e = 0; e < s.experts; ++e)
    if (first[e] < first[e + 1]) used.push_back(e);
  used.push_back(s.experts - 1);  // behind the last, what it asks for is never used
  for (size_t i = 0; i + 1 < used.size(); ++i) {
    const int64_t e = used[i], start = first[e], rows = first[e + 1] - start;
    const bool is_last = i + 2 == used.size();
    const auto next = [&](const float* w, int64_t columns, int64_t terms) {
      const int64_t size = columns * terms, steps = up(rows, FULL) / FULL * up(columns, WIDEST * LANES) / (WIDEST * LANES) * terms;
      return Ahead::over(steps, w + used[i + 1] * size, is_last ? 0 : size);
    };
    Ahead next_in = next(w_in, 2 * H, D), next_out = next(w_out, D, H);
    multiply_at(rows, 2 * H, D, &from[start], w_in + e * D * 2 * H, &inside[start], false, next_in);
    for (int64_t c = start; c < start + rows; ++c)
      for (int64_t i = 0; i < H; i += LANES) {
        const Vector a = load(inside[c] + i);
        store(inside[c] + i, a * sigmoid(a) * load(inside[c] + H + i) * splat(gate[order[c]]));
      }
    multiply_at(rows, D, H, (const float* const*)&inside[start], w_out + e * H * D, &to[start], true, next_out);
  }
}

}  // namespace ernest
