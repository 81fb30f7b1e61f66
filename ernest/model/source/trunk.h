// The trunk on new positions of cached rows: norms, attention to the row's own columns of the cache, routing, experts. All arrays
// lie row by row, without gaps, but keys in blocks.
//
// Every number of a position is summed in one order, whatever else is in the call: a row's results are the same bits in any
// company. P positions, D width, G query and K key heads of width d, N experts of H, C columns of a slot.
#pragma once

#include <algorithm>

#include "rows.h"

namespace ernest {

constexpr int64_t TOGETHER = 96;  // positions of whole rows that pass attention at once, so that they stay near the processor

constexpr int64_t KEYS = 32;  // columns of a block of the cache in which keys lie turned, [d, KEYS]

struct Layer {
  const float *attention_norm, *qkv, *query_norm, *key_norm, *out, *moe_norm, *router, *bias, *gate_up, *down;
};

struct Network {
  int64_t width, queries, keys, head, experts, hidden, slots, columns;
  float eps;
  Heads heads() const { return {queries, keys, head}; }
};

// Which layers the rows run, which experts they may choose [rows, layers, N], and how many [rows].
struct Restrictions {
  const uint8_t *runs, *allowed;
  const int64_t* top_k;
  int64_t layers;
};

struct Positions {
  int64_t count;
  float* x;
  const float *cosine, *sine;
  const int64_t *slot, *column, *end, *row, *gone, *back;  // columns from `gone` to before `back` are lost from view

  // Of the scores of a position, those of columns that are lost from view become `value`.
  void fill_lost(int64_t position, float* score, float value) const {
    for (int64_t j = gone ? gone[position] : 0; gone && j < back[position]; ++j) score[j] = value;
  }
};

static Positions positions_at(int64_t count, float* x, const float* cosine, const float* sine, const int64_t* places) {
  return {count, x, cosine, sine, places, places + count, places + 2 * count, places + 3 * count, places + 4 * count, places + 5 * count};
}

// Buffers that grow to the largest call and stay.
enum Use { COSINE, SINE, NORMED, QKV, ATTENDED, QUERY, KEY, SCORE, LOGITS, GATE, INNER, SOME_X, SOME_COSINE, SOME_SINE, JOINED, STATE, LAST, WORDS, USES };
static float* space(Use use, int64_t size) {
  static thread_local std::vector<float> kept[USES];
  if (int64_t(kept[use].size()) < size) kept[use].resize(size);
  return kept[use].data();
}

static void normed(int64_t rows, int64_t width, const float* x, const float* weight, float eps, float* to) {
  for (int64_t row = 0; row < rows; ++row, x += width, to += width) {
    const Vector scale = splat(inverse_rms(x, width, eps));
    for (int64_t i = 0; i < width; i += LANES) store(to + i, load(x + i) * scale * load(weight + i));
  }
}

// The queries [shared count, d] of a key head at `count` positions from `first` on: `keys` and `values` are those of the head. What
// comes after is asked for meanwhile.
static void read_cache(const Network& n, const Positions& p, int64_t first, int64_t count, int64_t key, const float* query,
                       const float* keys, const float* values, float* out, Ahead next_keys, Ahead next_values) {
  const int64_t d = n.head, shared = n.queries / n.keys, rows = shared * count;
  const int64_t columns_most = up(*std::max_element(p.end + first, p.end + first + count), KEYS);
  float* score = space(SCORE, QUERIES * columns_most);
  for (int64_t i = 0; i < rows; i += QUERIES) {
    const int64_t here = rows - i < QUERIES ? rows - i : QUERIES;
    const float *from[QUERIES], *share[QUERIES];
    float *to[QUERIES], *result[QUERIES];
    int64_t seen = 0;
    for (int64_t r = 0; r < here; ++r) {
      const int64_t head = key * shared + (i + r) / count, position = (i + r) % count;
      from[r] = query + (i + r) * d;
      share[r] = to[r] = score + r * columns_most;
      result[r] = out + (position * n.queries + head) * d;
      seen = std::max(seen, p.end[first + position]);
    }
    for (int64_t column = 0; column < seen; column += 2 * LANES)
      panel_at<2>(here, from, keys + column / KEYS * KEYS * d + column % KEYS, KEYS, to, column, d, false, next_keys);
    for (int64_t r = 0; r < here; ++r) {
      const int64_t position = first + (i + r) % count;
      p.fill_lost(position, to[r], -1e30f);
      softmax(to[r], p.end[position], up(seen, KEYS));
      p.fill_lost(position, to[r], 0.f);
    }
    multiply_at(here, d, seen, share, values, result, false, next_values);
  }
}

// One row's positions `first` to `first + count`, whose heads lie in `qkv`: keys and values enter the cache, queries read it. What the
// next key head will read, or the next row, is asked for ahead.
static void attend_row(const Network& n, const Layer& layer, const Positions& p, int64_t first, int64_t count, const float* qkv,
                       float* keys, float* values, float* out) {
  const Heads heads = n.heads();
  const int64_t d = n.head, step = heads.together() * d, shared = n.queries / n.keys, tiles = up(shared * count, FULL) / FULL;
  const Turning turning{layer.query_norm, layer.key_norm, p.cosine, p.sine, n.eps};
  const auto place = [&](int64_t position, int64_t key) { return (p.slot[position] * n.keys + key) * n.columns * d; };
  float* query = space(QUERY, shared * count * d);
  float* key_rows = space(KEY, count * d);
  for (int64_t key = 0; key < n.keys; ++key) {
    float *keys_here = keys + place(first, key), *values_here = values + place(first, key);
    turned_heads(qkv + (n.queries + key) * d, step, count, heads, layer.key_norm, turning, first, 1.f, key_rows);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t column = p.column[first] + i;
      float* turned = keys_here + column / KEYS * KEYS * d + column % KEYS;
      for (int64_t j = 0; j < d; ++j) turned[j * KEYS] = key_rows[i * d + j];
      read_head(qkv + i * step + (n.queries + n.keys + key) * d, d, d, values_here + column * d);
    }
    for (int64_t head = 0; head < shared; ++head)
      turned_heads(qkv + (key * shared + head) * d, step, count, heads, layer.query_norm, turning, first,
                   1.f / std::sqrt(float(d)), query + head * count * d);
    const int64_t next = key + 1 < n.keys ? first : first + count, sums = tiles * up(p.end[first], KEYS);
    const int64_t size = next < p.count ? up(p.end[next], KEYS) * d : 0, ahead = size ? place(next, (key + 1) % n.keys) : 0;
    read_cache(n, p, first, count, key, query, keys_here, values_here, out, Ahead::over(sums * d / (2 * LANES), keys + ahead, size),
               Ahead::over(sums * up(d, WIDEST * LANES) / (WIDEST * LANES), values + ahead, size));
  }
}

static void attention(const Network& n, const Layer& layer, const Positions& p, float* keys, float* values) {
  const int64_t D = n.width, together = n.heads().together() * n.head, attended = n.queries * n.head;
  for (int64_t start = 0, stop; start < p.count; start = stop) {
    std::vector<int64_t> rows{start};
    for (stop = start; stop < p.count && (stop == start || stop - start < TOGETHER);) {
      while (stop < p.count && p.row[stop] == p.row[rows.back()]) ++stop;
      rows.push_back(stop);
    }
    const int64_t count = stop - start;
    float* normal = space(NORMED, count * D);
    float* qkv = space(QKV, count * together);
    float* out = space(ATTENDED, count * attended);
    normed(count, D, p.x + start * D, layer.attention_norm, n.eps, normal);
    multiply_packed(count, together, D, normal, D, layer.qkv, qkv, together, false);
    for (size_t r = 0; r + 1 < rows.size(); ++r)
      attend_row(n, layer, p, rows[r], rows[r + 1] - rows[r], qkv + (rows[r] - start) * together, keys, values,
                 out + (rows[r] - start) * attended);
    multiply_packed(count, D, attended, out, attended, layer.out, p.x + start * D, D, true);
  }
}

// score = softmax(x W_r); expert = top-k(score + bias); gate = score[expert] / sum. A row with a smaller k has gates of 0.
static void route(const Network& n, const Layer& layer, int64_t number, const Positions& p, const Restrictions& limits, int64_t most,
                  const float* normal, float* gate, int64_t* expert) {
  const int64_t N = n.experts, padded = up(N, LANES);
  float* logits = space(LOGITS, p.count * padded + padded);
  float* select = logits + p.count * padded;
  multiply_packed(p.count, N, n.width, normal, n.width, layer.router, logits, padded, false);
  for (int64_t i = 0; i < p.count; ++i, logits += padded, gate += most, expert += most) {
    const uint8_t* allowed = limits.allowed ? limits.allowed + (p.row[i] * limits.layers + number) * N : nullptr;
    const int64_t k = limits.top_k ? limits.top_k[p.row[i]] : most;
    if (allowed)
      for (int64_t e = 0; e < N; ++e)
        if (!allowed[e]) logits[e] = -1e30f;
    softmax(logits, N, padded);
    for (int64_t e = 0; e < N; ++e) select[e] = allowed && !allowed[e] ? -1e30f : logits[e] + layer.bias[e];
    float total = 0;
    for (int64_t choice = 0; choice < most; ++choice) {
      const int64_t best = std::max_element(select, select + N) - select;
      select[best] = -2e30f;
      expert[choice] = best;
      gate[choice] = choice < k ? logits[best] : 0.f;
      total += gate[choice];
    }
    for (int64_t choice = 0; choice < most; ++choice) gate[choice] /= std::max(total, 1e-12f);
  }
}

static void feed_forward(const Network& n, const Layer& layer, int64_t number, const Positions& p, const Restrictions& limits,
                         int64_t most, int64_t* expert) {
  const Sizes sizes{p.count, most, n.experts, n.width, n.hidden};
  static thread_local std::vector<int32_t> order, first;
  order.resize(p.count * most);
  first.resize(n.experts + 1);
  float* normal = space(NORMED, p.count * n.width);
  float* gate = space(GATE, p.count * most);
  float* inner = space(INNER, p.count * most * 2 * n.hidden);
  normed(p.count, n.width, p.x, layer.moe_norm, n.eps, normal);
  route(n, layer, number, p, limits, most, normal, gate, expert);
  sort_choices(sizes, expert, gate, order.data(), first.data());
  experts_at(sizes, normal, gate, order.data(), first.data(), layer.gate_up, layer.down, inner, p.x);
}

static void run_layer(const Network& n, const Layer& layer, int64_t number, const Positions& p, const Restrictions& limits,
                      int64_t most, float* keys, float* values, int64_t* expert) {
  const int64_t slice = number * n.slots * n.keys * n.columns * n.head;
  attention(n, layer, p, keys + slice, values + slice);
  feed_forward(n, layer, number, p, limits, most, expert);
}

// The same for those positions whose rows run the layer.
static void run_some(const Network& n, const Layer& layer, int64_t number, const Positions& p, const Restrictions& limits,
                     int64_t most, float* keys, float* values, int64_t* expert, const std::vector<int64_t>& some) {
  const int64_t count = some.size(), D = n.width, half = n.head / 2;
  std::vector<int64_t> places(6 * count), experts_of(count * most);
  float* x = space(SOME_X, count * D);
  float* cosine = space(SOME_COSINE, count * half);
  float* sine = space(SOME_SINE, count * half);
  for (int64_t i = 0; i < count; ++i) {
    memcpy(x + i * D, p.x + some[i] * D, D * 4);
    memcpy(cosine + i * half, p.cosine + some[i] * half, half * 4);
    memcpy(sine + i * half, p.sine + some[i] * half, half * 4);
    const int64_t* const fields[] = {p.slot, p.column, p.end, p.row, p.gone, p.back};
    for (int64_t field = 0; field < 6; ++field) places[field * count + i] = fields[field][some[i]];
  }
  const Positions here = positions_at(count, x, cosine, sine, places.data());
  run_layer(n, layer, number, here, limits, most, keys, values, experts_of.data());
  for (int64_t i = 0; i < count; ++i) {
    memcpy(p.x + some[i] * D, x + i * D, D * 4);
    memcpy(expert + some[i] * most, experts_of.data() + i * most, most * 8);
  }
}

// Pair i turns with frequency[i] times the coordinate axis[i] of a position [P, 3].
static void angles(int64_t count, int64_t half, const double* position, const double* frequency, const int64_t* axis, float* cosine,
                   float* sine) {
  for (int64_t p = 0; p < count; ++p, position += 3)
    for (int64_t i = 0; i < half; ++i, ++cosine, ++sine) {
      if (p && position[axis[i]] == position[axis[i] - 3]) {
        *cosine = cosine[-half], *sine = sine[-half];
        continue;
      }
      const double angle = position[axis[i]] * frequency[i];
      *cosine = float(std::cos(angle)), *sine = float(std::sin(angle));
    }
}

// Layers with all that they read and keep; `final_norm` may be null.
struct Trunk {
  Network network;
  const Layer* layers;
  const float* final_norm;
  const double* frequency;
  const int64_t* axis;
  float *keys, *values;
  int64_t most;  // experts of a position
  Restrictions limits;
};

// Layers `from` to `to` on x [P, D], in place, at (t, h, w) `position` [P, 3]; slots, columns, ends, rows and what is
// lost from view in `places` [6, P].
// `expert` [layers, P, most] gets the choices where a layer runs, -1 for none.
static void run_trunk(const Trunk& t, int64_t from, int64_t to, int64_t count, float* x, const double* position,
                      const int64_t* places, int64_t* expert, bool last) {
  const Network& n = t.network;
  const Restrictions& limits = t.limits;
  float* cosine = space(COSINE, count * n.head / 2);
  float* sine = space(SINE, count * n.head / 2);
  angles(count, n.head / 2, position, t.frequency, t.axis, cosine, sine);
  const Positions p = positions_at(count, x, cosine, sine, places);
  for (int64_t layer = from; layer < to; ++layer) {
    int64_t* chosen = expert + layer * count * t.most;
    std::vector<int64_t> some;
    for (int64_t i = 0; limits.runs && i < count; ++i)
      if (limits.runs[p.row[i] * limits.layers + layer]) some.push_back(i);
    if (!limits.runs || int64_t(some.size()) == count)
      run_layer(n, t.layers[layer], layer, p, limits, t.most, t.keys, t.values, chosen);
    else run_some(n, t.layers[layer], layer, p, limits, t.most, t.keys, t.values, chosen, some);
  }
  for (int64_t i = 0; limits.top_k && i < (to - from) * count; ++i)
    for (int64_t choice = limits.top_k[p.row[i % count]]; choice < t.most; ++choice)
      expert[(from * count + i) * t.most + choice] = -1;
  if (last && t.final_norm) normed(count, n.width, x, t.final_norm, n.eps, x);
}

}  // namespace ernest
