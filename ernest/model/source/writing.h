// Texts in rounds: the head of the token after next drafts, and the trunk takes the last token and all drafts of a text at once.
// What it chooses itself behind each of them is what stands, so that drafts change no text.
#pragma once

#include <limits>

#include "choosing.h"
#include "drafting.h"

namespace ernest {

// States of a text (ernest/generation/text_states.py): whole, or broken; and of each, how many more tokens make it whole.
constexpr int64_t WHOLE = 0, BROKEN = 5, MISSING[] = {0, 1, 3, 2, 1, 1 << 30};
constexpr int64_t ENDS = 5;  // control tokens that may end a text, at most; -1 is none

// A text: its slots of both caches and the first new columns there, of which `column` is the position as well; its state; how many
// tokens may follow the next one, -1 when it has ended; how many states the head has not seen; how many tokens were made.
struct Text {
  int64_t slot, head_slot, column, head_column, state, left, known, made, end[ENDS];
};

// How R texts choose, [R] each, and their random numbers [R, longest].
struct Policy {
  const double *temperature, *top_p, *draw;
};

// The tokens made, [R, longest] each; `expert` [layers, R, longest, most].
struct Made {
  int64_t longest, *token;
  float *log_p, *own;
  int64_t* expert;
};

// `after` [5, vocabulary] is the state of a text behind a token. `hidden` [R, widest, D] are the states that the last tokens `fed`
// [R, widest] were chosen from; both are replaced by those of the last round.
struct Writer {
  const Trunk& trunk;
  const Drafter& drafter;
  const int8_t* after;
  Policy policy;
  Made made;
  int64_t layers, rows, widest;
  Text* text;
  float* hidden;
  int64_t* fed;

  int64_t vocabulary() const { return drafter.head->vocabulary; }
  int64_t next(int64_t state, int64_t token) const { return after[state * vocabulary() + token]; }

  // How many drafts are worth verifying: none that a text could not go on behind, or for which it has no room.
  int64_t usable(const Text& one, const int64_t* draft, int64_t count) const {
    int64_t state = one.state;
    for (int64_t i = 0; i < count; ++i)
      if (i >= one.left || (state = next(state, draft[i])) == BROKEN) return i;
    return count;
  }

  // Drafts for the texts in `open`, [open, ahead], and how many of each.
  void draft(const std::vector<int64_t>& open, int64_t ahead, float least, int64_t* drafted, int64_t* drafts) const {
    const int64_t D = trunk.network.width;
    std::vector<int64_t> table[4], token;
    std::vector<float> state;
    for (const int64_t r : open) {
      const Text& one = text[r];
      const int64_t entries[] = {one.known, one.head_slot, one.head_column, one.column - one.known};
      for (int i = 0; i < 4; ++i) table[i].push_back(entries[i]);
      token.insert(token.end(), fed + r * widest, fed + r * widest + one.known);
      state.insert(state.end(), hidden + r * widest * D, hidden + (r * widest + one.known) * D);
    }
    const Texts texts{int64_t(open.size()), table[0].data(), table[1].data(), table[2].data(), table[3].data()};
    draft_texts(drafter, texts, state.data(), token.data(), ahead, least, drafted, drafts);
  }

  // Logits without what a text of that state may not choose.
  void permitted(const Text& one, const float* logits, float* masked) const {
    for (int64_t v = 0; v < vocabulary(); ++v)
      masked[v] = MISSING[next(one.state, v)] <= one.left ? logits[v] : -std::numeric_limits<float>::infinity();
    for (int64_t i = 0; one.state == WHOLE && i < ENDS; ++i)
      if (one.end[i] >= 0) masked[one.end[i]] = logits[one.end[i]];
  }

  // Chooses behind the last token, and behind each draft as far as that is what was chosen; returns how often.
  int64_t choose(int64_t r, const float* logits, const int64_t* draft, int64_t drafts) const {
    static thread_local std::vector<float> masked;
    masked.resize(vocabulary());
    Text& one = text[r];
    for (int64_t i = 0;; ++i, logits += up(vocabulary(), LANES)) {
      const int64_t at = r * made.longest + one.made++;
      permitted(one, logits, masked.data());
      choose_class(vocabulary(), masked.data(), policy.temperature[r], policy.top_p[r], policy.draw[at], made.token + at,
                   made.log_p + at);
      const int64_t token = fed[r * widest + i] = made.token[at];
      made.own[at] = log_share(vocabulary(), logits, token);
      one.state = next(one.state, token);
      one.left = one.state == BROKEN ? -1 : one.left - 1;
      if (one.left < 0 || i == drafts || token != draft[i]) return i + 1;
    }
  }

  // One round of the texts in `open`.
  void round(const std::vector<int64_t>& open, int64_t ahead, float least) const {
    const int64_t R = open.size(), D = trunk.network.width, padded = up(vocabulary(), LANES);
    std::vector<int64_t> drafted(R * ahead), drafts(R), first(R), place[6];
    draft(open, ahead, least, drafted.data(), drafts.data());
    std::vector<float> x;
    std::vector<double> position;
    for (int64_t n = 0; n < R; ++n) {
      Text& one = text[open[n]];
      drafts[n] = usable(one, &drafted[n * ahead], drafts[n]);
      first[n] = position.size() / 3;
      for (int64_t i = 0; i <= drafts[n]; ++i) {
        const int64_t token = i ? drafted[n * ahead + i - 1] : fed[open[n] * widest + one.known - 1], column = one.column + i;
        const int64_t entries[] = {one.slot, column, column + 1, open[n], 0, 0};
        for (int field = 0; field < 6; ++field) place[field].push_back(entries[field]);
        x.insert(x.end(), drafter.head->embedding + token * D, drafter.head->embedding + (token + 1) * D);
        position.insert(position.end(), 3, double(column));
      }
    }
    const int64_t count = position.size() / 3;
    std::vector<int64_t> places, expert(layers * count * trunk.most, -1);
    for (const auto& field : place) places.insert(places.end(), field.begin(), field.end());
    run_trunk(trunk, 0, layers, count, x.data(), position.data(), places.data(), expert.data(), true);
    const float* logits = words_of(*drafter.head, count, D, x.data());
    for (int64_t n = 0; n < R; ++n) take(open[n], first[n], count, logits + first[n] * padded, &drafted[n * ahead], drafts[n], x, expert);
  }

  // What a text chooses, and what is kept of it; its positions begin at `first` of `count`.
  void take(int64_t r, int64_t first, int64_t count, const float* logits, const int64_t* draft, int64_t drafts,
            const std::vector<float>& x, const std::vector<int64_t>& expert) const {
    const int64_t D = trunk.network.width, most = trunk.most, before = text[r].made;
    Text& one = text[r];
    one.head_column += one.known;
    one.known = choose(r, logits, draft, drafts);
    one.column += one.known;
    memcpy(hidden + r * widest * D, &x[first * D], one.known * D * 4);
    for (int64_t layer = 0; layer < layers; ++layer)
      memcpy(made.expert + ((layer * rows + r) * made.longest + before) * most, &expert[(layer * count + first) * most],
             one.known * most * 8);
  }
};

static void write_rounds(const Writer& writer, int64_t ahead, float least, int64_t rounds) {
  for (int64_t round = 0; round < rounds; ++round) {
    std::vector<int64_t> open;
    for (int64_t r = 0; r < writer.rows; ++r)
      if (writer.text[r].left >= 0) open.push_back(r);
    if (open.empty()) return;
    writer.round(open, ahead, least);
  }
}

}  // namespace ernest
