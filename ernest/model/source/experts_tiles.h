// The experts of experts.h with products of bfloat16, in AMX's tiles or in vectors, whose sums stay float.
//
// Rows of a chunk are filled up to a multiple of GRAIN with zeros, where they are summed over. What costs is memory: a layer of
// 64 experts reads 25 MB of matrices twice and writes as much of gradients for 4 ms of products.
#pragma once

#include "experts.h"
#include "tiles.h"

#if defined(ERNEST_TILES)
namespace ernest {

constexpr int64_t CHUNK = 320;  // rows of a chunk: an expert seldom has more, so that its gradients are written once

INLINE bool tiles_fit(const Sizes& s) { return s.width % TILE == 0 && s.hidden % TILE == 0; }

INLINE bool aligned(const float* from) { return uintptr_t(from) % 64 == 0; }
INLINE Tile* tiles(int number, int64_t numbers) { return (Tile*)buffers().get(number, numbers / 2); }

// Where the `i`th 32 numbers of row `r` lie among tiles of A of rows of `width`.
INLINE uint32_t* place(Tile* to, int64_t r, int64_t i, int64_t width) { return to[r / 16 * (width / TILE) + i / TILE].rows[r % 16]; }

INLINE void clear_rows(int64_t start, int64_t end, int64_t width, Tile* to) {
  for (int64_t r = start; r < end; ++r)
    for (int64_t i = 0; i < width; i += TILE) _mm512_store_si512(place(to, r, i, width), _mm512_setzero_si512());
}

// Rows of tokens as tiles of A, zeros behind them.
INLINE void gather_tiles(const bf16* from, const int32_t* order, int64_t rows, int64_t filled, const Sizes& s, Tile* to) {
  for (int64_t r = 0; r < rows; ++r) {
    const bf16* row = from + order[r] / s.choices * s.width;
    for (int64_t i = 0; i < s.width; i += TILE) _mm512_store_si512(place(to, r, i, s.width), _mm512_loadu_si512(row + i));
  }
  clear_rows(rows, filled, s.width, to);
}

INLINE void narrow_tokens(int64_t threads, const Sizes& s, const float* from, bf16* to) {
  const int64_t block = 256;
  team()(threads, (s.tokens + block - 1) / block, [&](int64_t number) {
    const int64_t start = number * block, count = s.tokens - start < block ? s.tokens - start : block;
    narrowed(count * s.width, from + start * s.width, to + start * s.width);
  });
}

// `inner` has room for TILE rows more than there are choices. What a product fills up lies where the next expert's rows begin, which
// one thread writes afterwards; several have a place of their own for it.
static void experts_tiles(int64_t threads, const Sizes& s, const float* x, const float* gate, const int32_t* order,
                          const int32_t* first, const float* w_in, const float* w_out, float* inner, float* y) {
  const int64_t D = s.width, H = s.hidden;
  const Results results = Results::in(threads, s, y);
  bf16* x_narrow = (bf16*)buffers().get(0, s.tokens * D / 2);
  narrow_tokens(threads, s, x, x_narrow);
  team()(threads, s.experts, [&](int64_t e) {
    if (first[e] == first[e + 1]) return;
    float *rows_of = buffers().get(1, CHUNK * D), *aside = buffers().get(7, CHUNK * 2 * H);
    Tile *left = tiles(2, CHUNK * D), *scaled = tiles(3, CHUNK * H), *in_tiles = tiles(4, D * 2 * H), *out_tiles = tiles(5, H * D);
    const TileRegisters registers;
    tiles_of(D, 2 * H, w_in + e * D * 2 * H, in_tiles);
    tiles_of(H, D, w_out + e * H * D, out_tiles);
    for (int64_t start = first[e]; start < first[e + 1]; start += CHUNK) {
      const int64_t rows = first[e + 1] - start < CHUNK ? first[e + 1] - start : CHUNK, filled = up(rows, GRAIN);
      float *kept = inner + start * 2 * H, *in = threads > 1 ? aside : kept;
      gather_tiles(x_narrow, order + start, rows, filled, s, left);
      tile_product(filled, 2 * H, D, left, in_tiles, in, 2 * H);
      if (in != kept) memcpy(kept, in, rows * 2 * H * sizeof(float));
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < H; i += TILE) {
          const float *from = in + r * 2 * H + i, share = gate[order[start + r]];
          _mm512_store_si512(place(scaled, r, i, H), narrow(gated(from, H, share), gated(from + LANES, H, share)));
        }
      tile_product(filled, D, H, scaled, out_tiles, rows_of, D);
      results.put(rows_of, order, start, rows, s);
    }
  });
  results.sum(threads, order, first, s);
}

// Of one row: `gated_back`, whose results go into tiles.
INLINE float gated_back_tiles(const float* in, int64_t r, int64_t hidden, float gate, const float* grad, Tile* scaled, Tile* in_grad) {
  Vector products{};
  for (int64_t i = 0; i < hidden; i += TILE) {
    const Gated low = gated_back(in + i, hidden, gate, grad + i), high = gated_back(in + i + LANES, hidden, gate, grad + i + LANES);
    products += low.product;
    products += high.product;
    _mm512_store_si512(place(scaled, r, i, hidden), narrow(low.scaled, high.scaled));
    _mm512_store_si512(place(in_grad, r, i, 2 * hidden), narrow(low.a, high.a));
    _mm512_store_si512(place(in_grad, r, hidden + i, 2 * hidden), narrow(low.b, high.b));
  }
  return sum(products);
}

static void experts_tiles_back(int64_t threads, const Sizes& s, const float* x, const float* gate, const int32_t* order,
                               const int32_t* first, const float* w_in, const float* w_out, const float* inner, const float* y_grad,
                               float* x_grad, float* gate_grad, float* w_in_grad, float* w_out_grad) {
  const int64_t D = s.width, H = s.hidden, wider = D > 2 * H ? D : 2 * H;
  const Results results = Results::in(threads, s, x_grad);
  bf16 *x_narrow = (bf16*)buffers().get(0, s.tokens * D / 2), *y_grad_narrow = (bf16*)buffers().get(6, s.tokens * D / 2);
  narrow_tokens(threads, s, x, x_narrow);
  narrow_tokens(threads, s, y_grad, y_grad_narrow);
  team()(threads, s.experts, [&](int64_t e) {
    float *grad_in = w_in_grad + e * D * 2 * H, *grad_out = w_out_grad + e * H * D;
    if (first[e] == first[e + 1]) {
      memset(grad_in, 0, D * 2 * H * 4);
      memset(grad_out, 0, D * H * 4);
      return;
    }
    float *rows_of = buffers().get(1, CHUNK * D), *hidden_grad = buffers().get(7, CHUNK * H);
    Tile *left = tiles(2, CHUNK * D), *scaled = tiles(3, CHUNK * H), *in_turned = tiles(4, D * 2 * H);
    Tile *out_turned = tiles(5, H * D), *inner_grad = tiles(8, CHUNK * 2 * H);
    Tile *turned = tiles(9, CHUNK * wider), *paired = tiles(10, CHUNK * wider);
    const TileRegisters registers;
    tiles_of_turned(H, D, w_out + e * H * D, out_turned);
    tiles_of_turned(D, 2 * H, w_in + e * D * 2 * H, in_turned);
    for (int64_t start = first[e]; start < first[e + 1]; start += CHUNK) {
      const int64_t rows = first[e + 1] - start < CHUNK ? first[e + 1] - start : CHUNK, filled = up(rows, GRAIN);
      const bool add = start != first[e], once = first[e + 1] - first[e] <= CHUNK && aligned(grad_in) && aligned(grad_out);
      gather_tiles(y_grad_narrow, order + start, rows, filled, s, left);
      tile_product(filled, H, D, left, out_turned, hidden_grad, H);
      for (int64_t r = 0; r < rows; ++r)
        gate_grad[order[start + r]] = gated_back_tiles(inner + (start + r) * 2 * H, r, H, gate[order[start + r]],
                                                       hidden_grad + r * H, scaled, inner_grad);
      clear_rows(rows, filled, H, scaled);
      clear_rows(rows, filled, 2 * H, inner_grad);
      sums_over_rows<true>(filled, H, scaled, turned);
      sums_over_rows<false>(filled, D, left, paired);
      (once ? tile_product<true> : tile_product<false>)(H, D, filled, turned, paired, grad_out, D, add);
      gather_tiles(x_narrow, order + start, rows, filled, s, left);
      sums_over_rows<true>(filled, D, left, turned);
      sums_over_rows<false>(filled, 2 * H, inner_grad, paired);
      (once ? tile_product<true> : tile_product<false>)(D, 2 * H, filled, turned, paired, grad_in, 2 * H, add);
      tile_product(filled, D, 2 * H, inner_grad, in_turned, rows_of, D);
      results.put(rows_of, order, start, rows, s);
    }
    _mm_sfence();
  });
  results.sum(threads, order, first, s);
}

}  // namespace ernest
#endif
