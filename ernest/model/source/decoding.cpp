// What ernest/model/decoding.py calls: layers of the trunk on new positions of cached rows, drafts of texts, and draws of classes.
#include "writing.h"

using namespace ernest;

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void pack(int64_t columns, int64_t terms, const float* w, float* to) { pack_panels(columns, terms, w, to); }

static Network network(const int64_t* sizes, float eps) {
  return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], eps};
}

// What a trunk or a block is, as Python lays it down.
struct Parts {
  const Layer* layers;
  const float* final_norm;
  const double* frequency;
  const int64_t* axis;
  float *keys, *values;
  int64_t most;
  const uint8_t *runs, *allowed;
  const int64_t* top_k;
  int64_t all_layers;

  Trunk trunk(const Network& n) const {
    return {n, layers, final_norm, frequency, axis, keys, values, most, {runs, allowed, top_k, all_layers}};
  }
  Drafter drafter(const Network& n, const Head* head) const { return {n, layers, head, frequency, axis, keys, values}; }
};

// Layers `from` to `to` on x [P, D], in place. Positions of one row lie together in `places` [6, P], in rising columns of its slot,
// and each sees the columns before its end that are not lost from view. `expert` [layers, P, most] comes filled with -1; behind the last layer, the final norm
// is applied where there is one.
EXPORT void decode(const int64_t* sizes, float eps, const Parts* parts, int64_t from, int64_t to, int64_t last, int64_t count,
                   float* x, const double* position, const int64_t* places, int64_t* expert) {
  run_trunk(parts->trunk(network(sizes, eps)), from, to, count, x, position, places, expert, last);
}

// Tokens [R, ahead] that may follow texts, by a head whose block has the sizes of the trunk's first ones; `texts` [4, R] as of
// `Texts`.
EXPORT void draft(const int64_t* sizes, float eps, const Parts* block, const Head* head, int64_t rows, const int64_t* texts,
                  const float* hidden, const int64_t* token, int64_t ahead, int64_t* drafted) {
  const Texts all{rows, texts, texts + rows, texts + 2 * rows, texts + 3 * rows};
  std::vector<int64_t> drafts(rows);
  draft_texts(block->drafter(network(sizes, eps), head), all, hidden, token, ahead, 0, drafted, drafts.data());
}

// Texts go on for some rounds, with drafts of at most `ahead` tokens that are held as likely as `least` together.
EXPORT void write_texts(const int64_t* sizes, const int64_t* head_sizes, float eps, const Parts* parts, const Parts* block,
                        const Head* head, const int8_t* after, int64_t rows, Text* text, const Policy* policy, const Made* made,
                        int64_t widest, float* hidden, int64_t* fed, int64_t ahead, float least, int64_t rounds) {
  const Trunk trunk = parts->trunk(network(sizes, eps));
  const Drafter drafter = block->drafter(network(head_sizes, eps), head);
  write_rounds({trunk, drafter, after, *policy, *made, parts->all_layers, rows, widest, text, hidden, fed}, ahead, least, rounds);
}

// Logits [P, columns] of states [P, terms] by a matrix in panels; a row of logits has `padded` columns, whole vectors.
EXPORT void multiply_states(int64_t rows, int64_t columns, int64_t padded, int64_t terms, const float* state, const float* packed,
                            float* logits) {
  multiply_packed(rows, columns, terms, state, terms, packed, logits, padded, false);
}

// A class of each of `rows`, with its log-probability under the policy; settings and draws [rows].
EXPORT void choose(int64_t rows, int64_t classes, const float* logits, const double* temperature, const double* top_p,
                   const double* draw, int64_t* chosen, float* log_p) {
  for (int64_t r = 0; r < rows; ++r)
    choose_class(classes, logits + r * classes, temperature[r], top_p[r], draw[r], chosen + r, log_p + r);
}

EXPORT void log_shares(int64_t rows, int64_t classes, const float* logits, const int64_t* chosen, float* log_p) {
  for (int64_t r = 0; r < rows; ++r) log_p[r] = log_share(classes, logits + r * classes, chosen[r]);
}
