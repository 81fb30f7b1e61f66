// The parts of a training step that are chains of short passes over memory, each in one pass: norms, attention within documents,
// experts. Called by ernest/model/native.py; all arrays lie row by row, without gaps.
#include <cmath>

#include "experts_tiles.h"

using namespace ernest;

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void normalise(int64_t rows, int64_t width, const float* x, const float* weight, float eps, float* wide, uint16_t* narrow,
                      float* inverse) {
  normalise(rows, width, x, weight, eps, wide, (bf16*)narrow, inverse);
}

EXPORT void normalise_back(int64_t rows, int64_t width, const float* x, const float* weight, const float* inverse,
                           const float* wide, const uint16_t* narrow, float* x_grad, float* weight_grad) {
  normalise_back(rows, width, x, weight, inverse, wide, (const bf16*)narrow, x_grad, weight_grad, buffers().get(0, width));
}

// Documents and groups [rows, length] as the ends that `attend` reads; padding is a document below 0. Returns how many numbers
// the probabilities of one head take, or -1 where a document does not lie in one piece or its groups fall.
EXPORT int64_t spans(int64_t rows, int64_t length, const int64_t* document, const int64_t* group, int32_t* begin, int32_t* end) {
  int64_t total = 0;
  for (int64_t row = 0; row < rows; ++row, document += length, group += length, begin += length, end += length)
    for (int64_t start = 0, stop; start < length; start = stop) {
      for (stop = start + 1; stop < length && document[stop] == document[start];) ++stop;
      if (document[start] < 0) {
        for (int64_t i = start; i < stop; ++i) begin[i] = -1, end[i] = 0;
        continue;
      }
      for (int64_t i = 0; i < start; ++i)
        if (document[i] == document[start]) return -1;
      total += (stop - start) * up(stop - start, BLOCK);
      for (int64_t i = stop - 1; i >= start; --i) {
        const bool last = i + 1 == stop || group[i + 1] != group[i];
        if (i + 1 < stop && group[i + 1] < group[i]) return -1;
        begin[i] = int32_t(start);
        end[i] = last ? int32_t(i + 1) : end[i + 1];
      }
    }
  return total;
}

template <typename T>
static void attend_all(int64_t threads, int64_t rows, int64_t length, const Heads& heads, const T* qkv, const Turning& turning,
                       const int32_t* begin, const int32_t* end, const Lost& lost, float* probability, T* out) {
  const int64_t width = heads.queries * heads.width;
  std::vector<int64_t> padding;
  const std::vector<Document> documents = documents_of(rows, length, begin, heads.queries, padding);
  for (int64_t position : padding) memset(out + position * width, 0, width * sizeof(T));
  team()(threads, documents.size(), [&](int64_t number) {
    const Document& one = documents[number];
    attend_document(qkv, one.position, one.count, ends_within(one, length, end), lost, heads, turning, probability + one.start, out);
  });
}

template <typename T>
static void attend_all_back(int64_t threads, int64_t rows, int64_t length, const Heads& heads, const T* qkv, const Turning& turning,
                            const int32_t* begin, const int32_t* end, const float* probability, const T* out_grad, T* qkv_grad,
                            float* query_weight_grad, float* key_weight_grad) {
  const int64_t width = heads.together() * heads.width, both = heads.queries + heads.keys;
  std::vector<int64_t> padding;
  const std::vector<Document> documents = documents_of(rows, length, begin, heads.queries, padding);
  for (int64_t position : padding) memset(qkv_grad + position * width, 0, width * sizeof(T));
  const bool notes = threads > 1 && turning.query_weight;
  float* noted = notes ? buffers().get(11, 2 * rows * length * both * heads.padded()) : nullptr;
  team()(threads, documents.size(), [&](int64_t number) {
    const Document& one = documents[number];
    attend_document_back(qkv, one.position, one.count, ends_within(one, length, end), heads, turning, probability + one.start,
                         out_grad, qkv_grad, {query_weight_grad, noted}, {key_weight_grad, noted});
  });
  if (notes) sum_noted(threads, documents, heads, noted, query_weight_grad, key_weight_grad);
}

EXPORT void attend(int64_t threads, int64_t narrow, int64_t rows, int64_t length, int64_t queries, int64_t keys, int64_t width,
                   const void* qkv, const float* query_weight, const float* key_weight, const float* cosine, const float* sine,
                   float eps, const int32_t* begin, const int32_t* end, const int32_t* group, const int32_t* gone,
                   const int32_t* back, float* probability, void* out) {
  const Heads heads{queries, keys, width};
  const Turning turning{query_weight, key_weight, cosine, sine, eps};
  const Lost lost{group, gone, back};
  if (narrow) attend_all(threads, rows, length, heads, (const bf16*)qkv, turning, begin, end, lost, probability, (bf16*)out);
  else attend_all(threads, rows, length, heads, (const float*)qkv, turning, begin, end, lost, probability, (float*)out);
}

EXPORT void attend_back(int64_t threads, int64_t narrow, int64_t rows, int64_t length, int64_t queries, int64_t keys, int64_t width,
                        const void* qkv, const float* query_weight, const float* key_weight, const float* cosine, const float* sine,
                        float eps, const int32_t* begin, const int32_t* end, const float* probability, const void* out_grad,
                        void* qkv_grad, float* query_weight_grad, float* key_weight_grad) {
  const Heads heads{queries, keys, width};
  const Turning turning{query_weight, key_weight, cosine, sine, eps};
  if (narrow)
    attend_all_back(threads, rows, length, heads, (const bf16*)qkv, turning, begin, end, probability, (const bf16*)out_grad,
                    (bf16*)qkv_grad, query_weight_grad, key_weight_grad);
  else
    attend_all_back(threads, rows, length, heads, (const float*)qkv, turning, begin, end, probability, (const float*)out_grad,
                    (float*)qkv_grad, query_weight_grad, key_weight_grad);
}

// The k largest of every row of `score` [rows, columns], the largest first, of equal ones the first: their columns [rows, k].
EXPORT void largest(int64_t rows, int64_t columns, int64_t k, const float* score, int64_t* index) {
  float* left = buffers().get(0, columns);
  for (int64_t row = 0; row < rows; ++row, score += columns) {
    memcpy(left, score, columns * sizeof(float));
    for (int64_t rank = 0; rank < k; ++rank) {
      int64_t best = 0;
      for (int64_t column = 1; column < columns; ++column) best = left[column] > left[best] ? column : best;
      left[best] = -INFINITY;
      *index++ = best;
    }
  }
}

// `narrow`: products may be taken in bfloat16, where tiles take them.
EXPORT void experts(int64_t threads, int64_t narrow, int64_t tokens, int64_t choices, int64_t count, int64_t width, int64_t hidden,
                    const float* x, const float* gate, const int64_t* expert, const float* w_in, const float* w_out, int32_t* order,
                    int32_t* first, float* inner, float* y) {
  const Sizes sizes{tokens, choices, count, width, hidden};
  sort_choices(sizes, expert, gate, order, first);
#if defined(ERNEST_TILES)
  if (narrow && tiles_fit(sizes)) return experts_tiles(threads, sizes, x, gate, order, first, w_in, w_out, inner, y);
#endif
  (void)narrow;
  experts(threads, sizes, x, gate, order, first, w_in, w_out, inner, y);
}

EXPORT void experts_back(int64_t threads, int64_t narrow, int64_t tokens, int64_t choices, int64_t count, int64_t width,
                         int64_t hidden, const float* x, const float* gate, const float* w_in, const float* w_out,
                         const int32_t* order, const int32_t* first, const float* inner, const float* y_grad, float* x_grad,
                         float* gate_grad, float* w_in_grad, float* w_out_grad) {
  const Sizes sizes{tokens, choices, count, width, hidden};
#if defined(ERNEST_TILES)
  if (narrow && tiles_fit(sizes))
    return experts_tiles_back(threads, sizes, x, gate, order, first, w_in, w_out, inner, y_grad, x_grad, gate_grad, w_in_grad,
                              w_out_grad);
#endif
  (void)narrow;
  experts_back(threads, sizes, x, gate, order, first, w_in, w_out, inner, y_grad, x_grad, gate_grad, w_in_grad, w_out_grad);
}
