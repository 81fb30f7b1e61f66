// Drafts of texts by the head of the token after next, over and over: h' = Block(W [norm(h); norm(E(x))]) says what follows x, and
// stands for the hidden state that the network has not computed yet.
#pragma once

#include <vector>

#include "trunk.h"

namespace ernest {

// `projection` [D, 2 D] and `text_head` [vocabulary, D] in panels; `embedding` [vocabulary, D].
struct Head {
  const float *norm_hidden, *norm_token, *projection, *text_head, *embedding;
  int64_t vocabulary;
};

// Of R texts: how many positions are new, their slots of the head's cache, the first new columns there, and the first new positions.
struct Texts {
  int64_t rows;
  const int64_t *count, *slot, *column, *position;
};

// Places of the next `count` [R] positions of texts, `passed` [R] behind their first new ones.
struct NextPlaces {
  std::vector<int64_t> table, last;
  std::vector<double> position;
  int64_t count = 0;

  NextPlaces(const Texts& texts, const std::vector<int64_t>& counts, const std::vector<int64_t>& passed) {
    for (const int64_t some : counts) count += some;
    table.resize(4 * count), position.resize(3 * count);
    int64_t at = 0;
    for (int64_t r = 0; r < texts.rows; ++r) {
      for (int64_t i = passed[r]; i < passed[r] + counts[r]; ++i, ++at) {
        const int64_t column = texts.column[r] + i;
        table[at] = texts.slot[r], table[count + at] = column, table[2 * count + at] = column + 1, table[3 * count + at] = r;
        for (int axis = 0; axis < 3; ++axis) position[3 * at + axis] = double(texts.position[r] + i);
      }
      last.push_back(at - 1);
    }
  }
};

// x [P, D] = W [norm(h); norm(E(token))]
static void join(const Network& n, const Head& head, int64_t count, const float* hidden, const int64_t* token, float* x) {
  const int64_t D = n.width;
  float* both = space(JOINED, count * 2 * D);
  for (int64_t i = 0; i < count; ++i) {
    normed(1, D, hidden + i * D, head.norm_hidden, n.eps, both + i * 2 * D);
    normed(1, D, head.embedding + token[i] * D, head.norm_token, n.eps, both + i * 2 * D + D);
  }
  multiply_packed(count, D, 2 * D, both, 2 * D, head.projection, x, D, false);
}

// The likeliest tokens [R, ahead] behind those that were chosen: `hidden` [P, D] are the states that chose `token` [P].
static void draft_texts(const Network& n, const Layer& layer, const Head& head, const double* frequency, const int64_t* axis,
                        const Texts& texts, const float* hidden, const int64_t* token, float* keys, float* values, int64_t ahead,
                        int64_t* drafted) {
  const int64_t D = n.width, rows = texts.rows, padded = up(head.vocabulary, LANES);
  float* last = space(LAST, rows * D);
  float* logits = space(WORDS, rows * padded);
  std::vector<int64_t> counts(texts.count, texts.count + rows), passed(rows), likeliest(rows);
  for (int64_t step = 0; step < ahead; ++step) {
    const NextPlaces places(texts, counts, passed);
    const int64_t count = places.count, *table = places.table.data();
    float* x = space(STATE, count * D);
    float* cosine = space(COSINE, count * n.head / 2);
    float* sine = space(SINE, count * n.head / 2);
    std::vector<int64_t> expert(count);
    join(n, head, count, step ? last : hidden, step ? likeliest.data() : token, x);
    angles(count, n.head / 2, places.position.data(), frequency, axis, cosine, sine);
    const Positions p{count, x, cosine, sine, table, table + count, table + 2 * count, table + 3 * count};
    run_layer(n, layer, 0, p, {}, 1, keys, values, expert.data());
    for (int64_t r = 0; r < rows; ++r) memcpy(last + r * D, x + places.last[r] * D, D * 4);
    multiply_packed(rows, head.vocabulary, D, last, D, head.text_head, logits, padded, false);
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = logits + r * padded;
      likeliest[r] = drafted[r * ahead + step] = std::max_element(row, row + head.vocabulary) - row;
      passed[r] += counts[r], counts[r] = 1;
    }
  }
}

}  // namespace ernest
