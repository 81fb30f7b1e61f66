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

// A head with its block, of the trunk's sizes, and its cache.
struct Drafter {
  Network network;
  const Layer* layer;
  const Head* head;
  const double* frequency;
  const int64_t* axis;
  float *keys, *values;
};

// Of R texts: how many positions are new, their slots of the head's cache, the first new columns there, and the first new positions.
struct Texts {
  int64_t rows;
  const int64_t *count, *slot, *column, *position;
};

// Places of the next `counts` [R] positions of the texts in `open`, `passed` [R] behind their first new ones.
struct NextPlaces {
  std::vector<int64_t> table, last;
  std::vector<double> position;
  int64_t count = 0;

  NextPlaces(const Texts& texts, const std::vector<int64_t>& open, const std::vector<int64_t>& counts,
             const std::vector<int64_t>& passed) {
    for (const int64_t r : open) count += counts[r];
    table.resize(4 * count), position.resize(3 * count);
    int64_t at = 0;
    for (const int64_t r : open) {
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

// Logits [P, up(vocabulary)] of states [P, D].
static const float* words_of(const Head& head, int64_t count, int64_t width, const float* state) {
  const int64_t padded = up(head.vocabulary, LANES);
  float* logits = space(WORDS, count * padded);
  multiply_packed(count, head.vocabulary, width, state, width, head.text_head, logits, padded, false);
  return logits;
}

// softmax(logits)[best], where that is the greatest.
static float share_of(const float* logits, int64_t classes, int64_t best) {
  const Vector top = splat(logits[best]);
  Vector total{};
  int64_t i = 0;
  for (; i + LANES <= classes; i += LANES) total += exponential(load(logits + i) - top);
  float rest = sum(total);
  for (; i < classes; ++i) rest += std::exp(logits[i] - logits[best]);
  return 1.f / rest;
}

// The likeliest tokens [R, ahead] behind those that were chosen: `hidden` [P, D] are the states that chose `token` [P]. A text is
// drafted for as long as all its drafts together are held as likely as `least`; `drafts` [R] says how many there are.
static void draft_texts(const Drafter& d, const Texts& texts, const float* hidden, const int64_t* token, int64_t ahead, float least,
                        int64_t* drafted, int64_t* drafts) {
  const int64_t D = d.network.width, padded = up(d.head->vocabulary, LANES);
  float* last = space(LAST, texts.rows * D);
  std::vector<int64_t> counts(texts.count, texts.count + texts.rows), passed(texts.rows), open(texts.rows), likeliest(texts.rows);
  std::vector<float> chance(texts.rows, 1.f);
  for (int64_t r = 0; r < texts.rows; ++r) open[r] = r, drafts[r] = 0;
  for (int64_t step = 0; step < ahead && !open.empty(); ++step) {
    const NextPlaces places(texts, open, counts, passed);
    const int64_t count = places.count, half = d.network.head / 2, *table = places.table.data();
    float* x = space(STATE, count * D);
    float* cosine = space(COSINE, count * half);
    float* sine = space(SINE, count * half);
    std::vector<int64_t> expert(count), going;
    join(d.network, *d.head, count, step ? last : hidden, step ? likeliest.data() : token, x);
    angles(count, half, places.position.data(), d.frequency, d.axis, cosine, sine);
    const Positions p{count, x, cosine, sine, table, table + count, table + 2 * count, table + 3 * count, nullptr, nullptr};
    run_layer(d.network, *d.layer, 0, p, {}, 1, d.keys, d.values, expert.data());
    for (size_t n = 0; n < open.size(); ++n) memcpy(last + n * D, x + places.last[n] * D, D * 4);
    const float* logits = words_of(*d.head, open.size(), D, last);
    for (size_t n = 0; n < open.size(); ++n, logits += padded) {
      const int64_t r = open[n], best = std::max_element(logits, logits + d.head->vocabulary) - logits;
      if (least > 0 && (chance[r] *= share_of(logits, d.head->vocabulary, best)) < least) continue;
      drafted[r * ahead + drafts[r]++] = likeliest[going.size()] = best;
      memmove(last + going.size() * D, last + n * D, D * 4);
      passed[r] += counts[r], counts[r] = 1;
      going.push_back(r);
    }
    open = going;
  }
}

}  // namespace ernest
