// Attention within documents, forward and backward: queries and keys are normalised and turned by their positions, scores are
// taken document by document, and of a document only up to the last position that a block of queries may see.
//
// S positions of all rows together, G query heads, K key heads, d their width; a position holds G + 2 K heads side by side.
#pragma once

#include <vector>

#include "norms.h"
#include "products.h"
#include "threads.h"

namespace ernest {

struct Heads {
  int64_t queries, keys, width;
  int64_t padded() const { return up(width, BLOCK); }
  int64_t together() const { return queries + 2 * keys; }
};

// What turns heads: norm weights [d], or null where heads are not normalised; cosines and sines [S, d / 2], or null.
struct Turning {
  const float *query_weight, *key_weight, *cosine, *sine;
  float eps;
};

// Buffers that grow to the longest document and stay; each begins where a line of the cache does.
struct Buffers {
  std::vector<float> store[12];
  float* get(int number, int64_t size) {
    if (int64_t(store[number].size()) < size + 16) store[number].resize(size + 16);
    return (float*)((uintptr_t(store[number].data()) + 63) & ~uintptr_t(63));
  }
};
INLINE Buffers& buffers() {
  static thread_local Buffers kept;
  return kept;
}

template <typename T> INLINE void read_head(const T* from, int64_t width, int64_t padded, float* to) {
  int64_t i = 0;
  for (; i + LANES <= width; i += LANES) store(to + i, load(from + i));
  for (; i < width; ++i) to[i] = load_one(from + i);
  for (; i < padded; ++i) to[i] = 0;
}

template <typename T> INLINE void write_head(const float* from, int64_t width, T* to) {
  int64_t i = 0;
  for (; i + LANES <= width; i += LANES) store(to + i, load(from + i));
  for (; i < width; ++i) store_one(to + i, from[i]);
}

// The halves of a head as pairs: (a, b) becomes (a cos - b sin, b cos + a sin).
INLINE void rotate(float* head, int64_t width, const float* cosine, const float* sine, float direction) {
  const int64_t half = width / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[half + i], c = cosine[i], s = direction * sine[i];
    head[i] = a * c - b * s;
    head[half + i] = b * c + a * s;
  }
}

// Heads of `count` positions, normalised, turned and scaled: [count, padded]. Distances in `from` are `step`.
template <typename T>
static void turned_heads(const T* from, int64_t step, int64_t count, const Heads& heads, const float* weight,
                         const Turning& turning, int64_t position, float scale, float* to) {
  const int64_t width = heads.width, padded = heads.padded(), half = width / 2;
  for (int64_t i = 0; i < count; ++i, from += step, to += padded) {
    read_head(from, width, padded, to);
    if (weight) {
      const float inverse = inverse_rms(to, width, turning.eps);
      for (int64_t j = 0; j < width; ++j) to[j] = to[j] * inverse * weight[j];
    }
    if (turning.cosine) rotate(to, width, turning.cosine + (position + i) * half, turning.sine + (position + i) * half, 1.f);
    for (int64_t j = 0; j < width; ++j) to[j] *= scale;
  }
}

// What a head's norm weight has its gradient from, position by position: dw += g h. One thread adds at once; several, which take a
// document each, note g and h side by side, [S, heads, 2, padded], and add in the same order afterwards.
struct NormGradient {
  float *sum, *noted;

  void add(int64_t width, int64_t padded, const float* grad, const float* h, int64_t place) const {
    if (noted) {
      memcpy(noted + 2 * place * padded, grad, padded * sizeof(float));
      memcpy(noted + (2 * place + 1) * padded, h, padded * sizeof(float));
      return;
    }
    for (int64_t j = 0; j < width; ++j) sum[j] += grad[j] * h[j];
  }
};

// The gradient of `turned_heads`: from that of its results, which it spoils, to that of `from`; tells the weight's.
template <typename T>
static void turned_heads_back(const T* from, int64_t step, int64_t count, const Heads& heads, int64_t head, const float* weight,
                              const Turning& turning, int64_t position, float scale, float* grad, T* to,
                              const NormGradient& weight_grad) {
  const int64_t width = heads.width, padded = heads.padded(), half = width / 2;
  float* h = buffers().get(0, padded);
  for (int64_t i = 0; i < count; ++i, from += step, to += step, grad += padded) {
    for (int64_t j = 0; j < width; ++j) grad[j] *= scale;
    if (turning.cosine) rotate(grad, width, turning.cosine + (position + i) * half, turning.sine + (position + i) * half, -1.f);
    if (weight) {
      read_head(from, width, padded, h);
      const float inverse = inverse_rms(h, width, turning.eps);
      for (int64_t j = 0; j < width; ++j) h[j] *= inverse;
      weight_grad.add(width, padded, grad, h, (position + i) * (heads.queries + heads.keys) + head);
      for (int64_t j = 0; j < width; ++j) grad[j] *= weight[j];
      Vector products{};
      for (int64_t j = 0; j < padded; j += LANES) products += load(grad + j) * load(h + j);  // both end in zeros
      const float mean = sum(products) / float(width);
      for (int64_t j = 0; j < width; ++j) grad[j] = (grad[j] - h[j] * mean) * inverse;
    }
    write_head(grad, width, to);
  }
}

// Scores of a query over its first `seen` keys become probabilities; up to `columns` the rest is 0.
INLINE void softmax(float* score, int64_t seen, int64_t columns) {
  for (int64_t j = seen; j < columns; ++j) score[j] = -1e30f;
  Vector most = load(score);
  for (int64_t j = LANES; j < columns; j += LANES) most = larger(most, load(score + j));
  const Vector top = splat(greatest(most));
  Vector total{};
  for (int64_t j = 0; j < columns; j += LANES) {
    const Vector value = exponential(load(score + j) - top);
    store(score + j, value);
    total += value;
  }
  const Vector share = splat(1.f / sum(total));
  for (int64_t j = 0; j < columns; j += LANES) store(score + j, load(score + j) * share);
  for (int64_t j = seen; j < columns; ++j) score[j] = 0;
}

// What is lost from view: a position is not seen by the groups from `gone` to before `back`; [S] each, or null where all are seen.
struct Lost {
  const int32_t *group, *gone, *back;

  // Of the first `seen` scores of a query of a document that begins at `position`, those that it does not see become `value`.
  void fill(float* score, int64_t position, int64_t query, int64_t seen, float value) const {
    if (!group) return;
    const int32_t now = group[position + query];
    for (int64_t j = 0; j < seen; ++j)
      if (gone[position + j] <= now && now < back[position + j]) score[j] = value;
  }
};

constexpr int64_t QUERIES = 24;  // of a block

// One document of `count` positions from `position` on; `last` [count] is one past the last position that each may see.
template <typename T>
static void attend_document(const T* qkv, int64_t position, int64_t count, const int32_t* last, const Lost& lost,
                            const Heads& heads, const Turning& turning, float* probability, T* out) {
  const int64_t d = heads.width, padded = heads.padded(), step = heads.together() * d, columns_most = up(count, BLOCK);
  const T* base = qkv + position * step;
  float* turned = buffers().get(1, count * padded);
  float* keys = buffers().get(2, padded * columns_most);
  float* values = buffers().get(3, columns_most * padded);
  float* result = buffers().get(4, QUERIES * padded);
  const float scale = 1.f / std::sqrt(float(d));
  for (int64_t key = 0; key < heads.keys; ++key) {
    turned_heads(base + (heads.queries + key) * d, step, count, heads, turning.key_weight, turning, position, 1.f, turned);
    for (int64_t j = 0; j < d; ++j)
      for (int64_t i = count; i < columns_most; ++i) keys[j * columns_most + i] = 0;
    turn(count, d, turned, padded, keys, columns_most);
    for (int64_t i = 0; i < count; ++i)
      read_head(base + i * step + (heads.queries + heads.keys + key) * d, d, padded, values + i * padded);
    for (int64_t of_key = 0; of_key < heads.queries / heads.keys; ++of_key, probability += count * columns_most) {
      const int64_t head = key * (heads.queries / heads.keys) + of_key;
      turned_heads(base + head * d, step, count, heads, turning.query_weight, turning, position, scale, turned);
      for (int64_t i = 0; i < count; i += QUERIES) {
        const int64_t rows = count - i < QUERIES ? count - i : QUERIES, seen = last[i + rows - 1], columns = up(seen, BLOCK);
        float* score = probability + i * columns_most;
        multiply(rows, columns, d, turned + i * padded, padded, keys, columns_most, score, columns_most);
        for (int64_t r = 0; r < rows; ++r) {
          lost.fill(score + r * columns_most, position, i + r, last[i + r], -1e30f);
          softmax(score + r * columns_most, last[i + r], columns);
          lost.fill(score + r * columns_most, position, i + r, last[i + r], 0.f);
        }
        multiply(rows, padded, seen, score, columns_most, values, padded, result, padded);
        for (int64_t r = 0; r < rows; ++r)
          write_head(result + r * padded, d, out + ((position + i + r) * heads.queries + head) * d);
      }
    }
  }
}

template <typename T>
static void attend_document_back(const T* qkv, int64_t position, int64_t count, const int32_t* last, const Heads& heads,
                                 const Turning& turning, const float* probability, const T* out_grad, T* qkv_grad,
                                 const NormGradient& query_weight_grad, const NormGradient& key_weight_grad) {
  const int64_t d = heads.width, padded = heads.padded(), step = heads.together() * d, columns_most = up(count, BLOCK);
  const T* base = qkv + position * step;
  T* grad_base = qkv_grad + position * step;
  float* query = buffers().get(1, count * padded);
  float* key_rows = buffers().get(2, count * padded);
  float* values = buffers().get(3, count * padded);
  float* values_turned = buffers().get(4, padded * columns_most);
  float* grad = buffers().get(5, count * padded);
  float* score_grad = buffers().get(6, QUERIES * columns_most);
  float* query_grad = buffers().get(7, count * padded);
  float* key_grad = buffers().get(8, count * padded);
  float* value_grad = buffers().get(9, count * padded);
  const float scale = 1.f / std::sqrt(float(d));
  for (int64_t key = 0; key < heads.keys; ++key) {
    const int64_t key_head = heads.queries + key, value_head = key_head + heads.keys;
    turned_heads(base + key_head * d, step, count, heads, turning.key_weight, turning, position, 1.f, key_rows);
    for (int64_t i = 0; i < count; ++i) read_head(base + i * step + value_head * d, d, padded, values + i * padded);
    for (int64_t j = 0; j < d; ++j)
      for (int64_t i = count; i < columns_most; ++i) values_turned[j * columns_most + i] = 0;
    turn(count, d, values, padded, values_turned, columns_most);
    for (int64_t i = 0; i < count * padded; ++i) key_grad[i] = value_grad[i] = 0;
    for (int64_t of_key = 0; of_key < heads.queries / heads.keys; ++of_key, probability += count * columns_most) {
      const int64_t head = key * (heads.queries / heads.keys) + of_key;
      turned_heads(base + head * d, step, count, heads, turning.query_weight, turning, position, scale, query);
      for (int64_t i = 0; i < count; ++i)
        read_head(out_grad + ((position + i) * heads.queries + head) * d, d, padded, grad + i * padded);
      for (int64_t i = 0; i < count; i += QUERIES) {
        const int64_t rows = count - i < QUERIES ? count - i : QUERIES, seen = last[i + rows - 1], columns = up(seen, BLOCK);
        const float* share = probability + i * columns_most;
        multiply(rows, columns, d, grad + i * padded, padded, values_turned, columns_most, score_grad, columns_most);
        multiply_turned(seen, padded, rows, share, columns_most, grad + i * padded, padded, value_grad, padded, true);
        for (int64_t r = 0; r < rows; ++r) {
          const float* p = share + r * columns_most;
          float* g = score_grad + r * columns_most;
          Vector total{};
          for (int64_t j = 0; j < columns; j += LANES) total += load(p + j) * load(g + j);
          const Vector mean = splat(sum(total));
          for (int64_t j = 0; j < columns; j += LANES) store(g + j, load(p + j) * (load(g + j) - mean));
        }
        multiply(rows, padded, seen, score_grad, columns_most, key_rows, padded, query_grad + i * padded, padded);
        multiply_turned(seen, padded, rows, score_grad, columns_most, query + i * padded, padded, key_grad, padded, true);
      }
      turned_heads_back(base + head * d, step, count, heads, head, turning.query_weight, turning, position, scale, query_grad,
                        grad_base + head * d, query_weight_grad);
    }
    turned_heads_back(base + key_head * d, step, count, heads, key_head, turning.key_weight, turning, position, 1.f, key_grad,
                      grad_base + key_head * d, key_weight_grad);
    for (int64_t i = 0; i < count; ++i) write_head(value_grad + i * padded, d, grad_base + i * step + value_head * d);
  }
}

// A document of packed rows: its first position among all, how many it has, and where its probabilities begin.
struct Document {
  int64_t position, count, start;
};

// All documents, and the positions that belong to none. `begin` [rows, length] are columns of the row: the first position of the
// document, or -1.
static std::vector<Document> documents_of(int64_t rows, int64_t length, const int32_t* begin, int64_t queries,
                                          std::vector<int64_t>& padding) {
  std::vector<Document> found;
  int64_t start = 0;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < length;) {
      const int64_t position = row * length + column;
      if (begin[position] < 0) {
        padding.push_back(position);
        ++column;
        continue;
      }
      int64_t count = 0;
      while (column + count < length && begin[position + count] == begin[position]) ++count;
      found.push_back({position, count, start});
      start += queries * count * up(count, BLOCK);
      column += count;
    }
  return found;
}

// One past the last position of the document that each of its positions may see, from the columns `end` [rows, length].
static const int32_t* ends_within(const Document& document, int64_t length, const int32_t* end) {
  static thread_local std::vector<int32_t> last;
  last.resize(document.count);
  const int32_t first = int32_t(document.position % length);
  for (int64_t i = 0; i < document.count; ++i) last[i] = end[document.position + i] - first;
  return last.data();
}

// The gradients of both norm weights from what was noted, document by document and head by head.
static void sum_noted(int64_t threads, const std::vector<Document>& documents, const Heads& heads, const float* noted,
                      float* query_weight_grad, float* key_weight_grad) {
  const int64_t d = heads.width, padded = heads.padded(), both = heads.queries + heads.keys, blocks = padded / BLOCK;
  team()(threads, 2 * blocks, [&](int64_t task) {
    const int64_t column = task % blocks * BLOCK, end = column + BLOCK < d ? column + BLOCK : d;
    const int64_t first = task < blocks ? 0 : heads.queries, last = task < blocks ? heads.queries : both;
    float* sum = task < blocks ? query_weight_grad : key_weight_grad;
    for (const Document& document : documents)
      for (int64_t head = first; head < last; ++head)
        for (int64_t i = 0; i < document.count; ++i) {
          const float* grad = noted + 2 * ((document.position + i) * both + head) * padded;
          for (int64_t j = column; j < end; ++j) sum[j] += grad[j] * grad[padded + j];
        }
  });
}

}  // namespace ernest
