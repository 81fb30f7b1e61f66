// Experts' feed-forward, forward and backward: choices are sorted by expert once, and every expert takes its rows through
// y = W_down (gate silu(x W_gate) * (x W_up)) in chunks that stay near the processor.
//
// T tokens, k choices of each, N experts, D width, H width of an expert; gate and up lie side by side, [N, D, 2 H].
#pragma once

#include "attention.h"

namespace ernest {

constexpr int64_t ROWS = 192;  // of a chunk
// Numbers behind each row of what is read by columns: with rows of a power of two all of a column would share a few lines of the
// nearest cache.
constexpr int64_t APART = 16;

struct Sizes {
  int64_t tokens, choices, experts, width, hidden;
};

// The choices sorted by expert, in the order of tokens, without those of gate 0: `order` [T k] their numbers, `first` [N + 1].
static void sort_choices(const Sizes& s, const int64_t* expert, const float* gate, int32_t* order, int32_t* first) {
  for (int64_t e = 0; e <= s.experts; ++e) first[e] = 0;
  const int64_t all = s.tokens * s.choices;
  for (int64_t c = 0; c < all; ++c)
    if (gate[c] != 0) ++first[expert[c] + 1];
  for (int64_t e = 0; e < s.experts; ++e) first[e + 1] += first[e];
  std::vector<int32_t> next(first, first + s.experts);
  for (int64_t c = 0; c < all; ++c)
    if (gate[c] != 0) order[next[expert[c]]++] = int32_t(c);
}

INLINE void gather(const float* from, const int32_t* order, int64_t rows, const Sizes& s, float* to, int64_t to_row) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0, token = order[r] / s.choices; i < s.width; i += LANES)
      store(to + r * to_row + i, load(from + token * s.width + i));
}

INLINE void scatter(const float* from, const int32_t* order, int64_t rows, const Sizes& s, float* to) {
  for (int64_t r = 0; r < rows; ++r) {
    float* row = to + order[r] / s.choices * s.width;
    for (int64_t i = 0; i < s.width; i += LANES) store(row + i, load(row + i) + load(from + r * s.width + i));
  }
}

// Where experts leave the rows of their results. One thread adds each to its token's at once. Several, which take an expert each,
// keep them in the order of choices, [T k, D], and every token sums its own afterwards, in the same order: that of experts.
struct Results {
  float* rows;  // null where one thread adds
  float* y;

  static Results in(int64_t threads, const Sizes& s, float* y) {
    return {threads > 1 ? buffers().get(11, s.tokens * s.choices * s.width) : nullptr, y};
  }

  void put(const float* from, const int32_t* order, int64_t start, int64_t count, const Sizes& s) const {
    if (rows) memcpy(rows + start * s.width, from, count * s.width * sizeof(float));
    else scatter(from, order + start, count, s, y);
  }

  void sum(int64_t threads, const int32_t* order, const int32_t* first, const Sizes& s) const {
    if (!rows) return;
    const int64_t all = first[s.experts], k = s.choices, block = 64;
    std::vector<int32_t> place(s.tokens * k), count(s.tokens, 0);  // of each token, its rows as experts come
    for (int64_t c = 0; c < all; ++c) {
      const int64_t token = order[c] / k;
      place[token * k + count[token]++] = int32_t(c);
    }
    team()(threads, (s.tokens + block - 1) / block, [&](int64_t number) {
      const int64_t end = (number + 1) * block < s.tokens ? (number + 1) * block : s.tokens;
      for (int64_t token = number * block; token < end; ++token)
        for (int64_t i = 0; i < s.width; i += LANES) {
          Vector total{};
          for (int64_t j = 0; j < count[token]; ++j) total += load(rows + place[token * k + j] * s.width + i);
          store(y + token * s.width + i, total);
        }
    });
  }
};

// gate silu(a) b, of the numbers at `in` and those `hidden` further on.
INLINE Vector gated(const float* in, int64_t hidden, float gate) {
  const Vector a = load(in), b = load(in + hidden);
  return a * sigmoid(a) * b * splat(gate);
}

// `gated` again, the gradients of a and b from that of the result, and what the gate's is the sum of.
struct Gated {
  Vector scaled, a, b, product;
};
INLINE Gated gated_back(const float* in, int64_t hidden, float gate, const float* grad) {
  const Vector a = load(in), b = load(in + hidden), g = load(grad);
  const Vector share = sigmoid(a), silu = a * share, result = silu * b, inside = g * splat(gate);
  return {result * splat(gate), inside * b * (share + silu * (splat(1.f) - share)), inside * silu, g * result};
}

// Of one row.
INLINE void gated_row(const float* in, int64_t hidden, float gate, float* scaled) {
  for (int64_t i = 0; i < hidden; i += LANES) store(scaled + i, gated(in + i, hidden, gate));
}

// Of one row; returns the gradient of the gate.
INLINE float gated_row_back(const float* in, int64_t hidden, float gate, const float* grad, float* scaled, float* in_grad) {
  Vector products{};
  for (int64_t i = 0; i < hidden; i += LANES) {
    const Gated back = gated_back(in + i, hidden, gate, grad + i);
    products += back.product;
    store(scaled + i, back.scaled);
    store(in_grad + i, back.a);
    store(in_grad + hidden + i, back.b);
  }
  return sum(products);
}

// `inner` [T k, 2 H] keeps x W for the way back; `y` [T, D] comes as zeros.
static void experts(int64_t threads, const Sizes& s, const float* x, const float* gate, const int32_t* order, const int32_t* first,
                    const float* w_in, const float* w_out, float* inner, float* y) {
  const int64_t D = s.width, H = s.hidden;
  const Results results = Results::in(threads, s, y);
  team()(threads, s.experts, [&](int64_t e) {
    float* rows_of = buffers().get(1, ROWS * D);
    float* scaled = buffers().get(2, ROWS * H);
    for (int64_t start = first[e]; start < first[e + 1]; start += ROWS) {
      const int64_t rows = first[e + 1] - start < ROWS ? first[e + 1] - start : ROWS;
      float* in = inner + start * 2 * H;
      gather(x, order + start, rows, s, rows_of, D);
      multiply(rows, 2 * H, D, rows_of, D, w_in + e * D * 2 * H, 2 * H, in, 2 * H);
      for (int64_t r = 0; r < rows; ++r) gated_row(in + r * 2 * H, H, gate[order[start + r]], scaled + r * H);
      multiply(rows, D, H, scaled, H, w_out + e * H * D, D, rows_of, D);
      results.put(rows_of, order, start, rows, s);
    }
  });
  results.sum(threads, order, first, s);
}

// `x_grad` [T, D], `gate_grad` [T k] come as zeros; the matrices' gradients are written whole.
static void experts_back(int64_t threads, const Sizes& s, const float* x, const float* gate, const int32_t* order,
                         const int32_t* first, const float* w_in, const float* w_out, const float* inner, const float* y_grad,
                         float* x_grad, float* gate_grad, float* w_in_grad, float* w_out_grad) {
  const int64_t D = s.width, H = s.hidden;
  const Results results = Results::in(threads, s, x_grad);
  team()(threads, s.experts, [&](int64_t e) {
    float *grad_in = w_in_grad + e * D * 2 * H, *grad_out = w_out_grad + e * H * D;
    if (first[e] == first[e + 1]) {
      for (int64_t i = 0; i < D * 2 * H; ++i) grad_in[i] = 0;
      for (int64_t i = 0; i < D * H; ++i) grad_out[i] = 0;
      return;
    }
    float* rows_of = buffers().get(1, ROWS * (D + APART));
    float* scaled = buffers().get(2, ROWS * (H + APART));
    float* grad_rows = buffers().get(3, ROWS * D);
    float* hidden_grad = buffers().get(4, ROWS * H);
    float* inner_grad = buffers().get(5, ROWS * 2 * H);
    float* w_out_turned = buffers().get(6, D * H);
    float* w_in_turned = buffers().get(7, 2 * H * D);
    turn(H, D, w_out + e * H * D, D, w_out_turned, H);
    turn(D, 2 * H, w_in + e * D * 2 * H, 2 * H, w_in_turned, D);
    for (int64_t start = first[e]; start < first[e + 1]; start += ROWS) {
      const int64_t rows = first[e + 1] - start < ROWS ? first[e + 1] - start : ROWS;
      const bool add = start != first[e];
      const float* in = inner + start * 2 * H;
      gather(y_grad, order + start, rows, s, grad_rows, D);
      multiply(rows, H, D, grad_rows, D, w_out_turned, H, hidden_grad, H);
      for (int64_t r = 0; r < rows; ++r)
        gate_grad[order[start + r]] = gated_row_back(in + r * 2 * H, H, gate[order[start + r]], hidden_grad + r * H,
                                                     scaled + r * (H + APART), inner_grad + r * 2 * H);
      multiply_turned(H, D, rows, scaled, H + APART, grad_rows, D, grad_out, D, add);
      gather(x, order + start, rows, s, rows_of, D + APART);
      multiply_turned(D, 2 * H, rows, rows_of, D + APART, inner_grad, 2 * H, grad_in, 2 * H, add);
      multiply(rows, D, 2 * H, inner_grad, 2 * H, w_in_turned, D, rows_of, D);
      results.put(rows_of, order, start, rows, s);
    }
  });
  results.sum(threads, order, first, s);
}

}  // namespace ernest
