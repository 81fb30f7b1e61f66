// Draws a class of every row of logits, as ernest/generation/sampling.py does.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace ernest {

// Shares become 0 beyond the likeliest that hold `top_p` together: those stay that have at most so much before them. Halves are
// looked at as in a search for a median, each once.
static void keep_likeliest(std::vector<double>& share, double top_p) {
  static thread_local std::vector<int64_t> open;
  open.resize(share.size());
  for (size_t i = 0; i < open.size(); ++i) open[i] = int64_t(i);
  auto begin = open.begin(), end = open.end();
  double held = 0;
  while (begin != end && held <= top_p) {
    const int64_t middle = begin[(end - begin) / 2];
    const double pivot = share[middle];
    const auto before = [&](int64_t i) { return share[i] > pivot || (share[i] == pivot && i < middle); };
    const auto cut = std::partition(begin, end, before);
    double mass = held;
    for (auto i = begin; i != cut; ++i) mass += share[*i];
    if (mass > top_p) {
      for (auto i = cut; i != end; ++i) share[*i] = 0;
      end = cut;
    } else {
      held = mass + pivot;
      std::iter_swap(cut, std::find(cut, end, middle));
      begin = cut + 1;
    }
  }
  for (auto i = begin; i != end; ++i) share[*i] = 0;
}

// Temperature 0 takes the likeliest, with certainty; else the first class whose part of [0, total) holds the draw.
static void choose_class(int64_t classes, const float* logits, double temperature, double top_p, double draw, int64_t* chosen,
                         float* log_p) {
  const int64_t best = std::max_element(logits, logits + classes) - logits;
  *chosen = best, *log_p = 0;
  if (temperature == 0) return;
  static thread_local std::vector<double> share;
  share.resize(classes);
  double total = 0;
  for (int64_t i = 0; i < classes; ++i) total += share[i] = std::exp((double(logits[i]) - double(logits[best])) / temperature);
  for (int64_t i = 0; i < classes; ++i) share[i] /= total;
  if (top_p < 1) keep_likeliest(share, top_p);
  total = 0;
  for (int64_t i = 0; i < classes; ++i) total += share[i];
  double below = 0;
  int64_t at = 0;
  while (at < classes && (below += share[at]) <= draw * total) ++at;
  *chosen = std::min(at, classes - 1);
  *log_p = float(std::log(share[*chosen] / total));
}

// log softmax(logits)[chosen].
static float log_share(int64_t classes, const float* logits, int64_t chosen) {
  const float most = *std::max_element(logits, logits + classes);
  double total = 0;
  for (int64_t i = 0; i < classes; ++i) total += std::exp(logits[i] - most);
  return float(double(logits[chosen]) - double(most) - std::log(total));
}

}  // namespace ernest
