// What ernest/model/decoding.py calls: layers of the trunk on new positions of cached rows, drafts of texts, and draws of classes.
#include "choosing.h"
#include "drafting.h"

using namespace ernest;

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void pack(int64_t columns, int64_t terms, const float* w, float* to) { pack_panels(columns, terms, w, to); }

// Layers `from` to `to` on x [P, D], in place. Positions of one `row` lie together, in rising columns of its slot, and each sees
// the columns before `end`. `expert` [layers, P, most] gets the choices, -1 for none; behind the last layer, `final_norm` is
// applied where it is given.
EXPORT void decode(const int64_t* sizes, float eps, const Layer* layers, const float* final_norm, int64_t from, int64_t to,
                   const double* frequency, const int64_t* axis, int64_t count, float* x, const double* position,
                   const int64_t* places, float* keys, float* values, int64_t most, const uint8_t* runs, const uint8_t* allowed,
                   const int64_t* top_k, int64_t all_layers, int64_t* expert) {
  const Network n{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], eps};
  const Restrictions limits{runs, allowed, top_k, all_layers};
  float* cosine = space(COSINE, count * n.head / 2);
  float* sine = space(SINE, count * n.head / 2);
  angles(count, n.head / 2, position, frequency, axis, cosine, sine);
  const Positions p{count, x, cosine, sine, places, places + count, places + 2 * count, places + 3 * count};
  for (int64_t layer = from; layer < to; ++layer) {
    int64_t* chosen = expert + layer * count * most;
    std::vector<int64_t> some;
    for (int64_t i = 0; runs && i < count; ++i)
      if (runs[p.row[i] * all_layers + layer]) some.push_back(i);
    if (!runs || int64_t(some.size()) == count) run_layer(n, layers[layer], layer, p, limits, most, keys, values, chosen);
    else run_some(n, layers[layer], layer, p, limits, most, keys, values, chosen, some);
  }
  for (int64_t i = 0; top_k && i < (to - from) * count; ++i)
    for (int64_t choice = top_k[p.row[i % count]]; choice < most; ++choice) expert[(from * count + i) * most + choice] = -1;
  if (final_norm) normed(count, n.width, x, final_norm, eps, x);
}

// Tokens that may follow texts, by a head whose block has the sizes of the trunk's first ones; `texts` [4, rows] as of `Texts`.
EXPORT void draft(const int64_t* sizes, float eps, const Layer* layer, const Head* head, const double* frequency, const int64_t* axis,
                  int64_t rows, const int64_t* texts, const float* hidden, const int64_t* token, float* keys, float* values,
                  int64_t ahead, int64_t* drafted) {
  const Network n{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], eps};
  const Texts all{rows, texts, texts + rows, texts + 2 * rows, texts + 3 * rows};
  draft_texts(n, *layer, *head, frequency, axis, all, hidden, token, keys, values, ahead, drafted);
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
