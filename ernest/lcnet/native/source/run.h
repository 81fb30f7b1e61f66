// The whole network on one image: strips of rows go through a block at a time and never leave the cache in between.
#pragma once

#include <chrono>
#include <cmath>

#include "dense.h"
#include "stem.h"
#include "pointwise.h"
#include "threads.h"

namespace lcnet {

template <class P> struct Block {
  Depthwise depthwise;
  Dense<typename P::Wide> reduce, expand;   // squeeze-and-excite; reduce.out is 0 where there is none
  typename P::Weights first, second;        // second.out is 0 where the pointwise convolution is one step
  bool shortcut = false;
  int out() const { return second.out ? second.out : first.out; }
};

template <class P> struct Network {
  Stem stem;
  std::vector<Block<P>> blocks;
  Dense<typename P::Head> hidden, classifier;  // hidden.out is 0 where there is none
  Activation activation;
  bool sigmoid;

  explicit Network(const NetworkValues& from) : stem(P::pack_stem(from)), activation((Activation)from.activation),
      sigmoid(from.sigmoid_gate) {
    for (const BlockValues* block = from.block; block < from.block + from.blocks; block++) {
      Block<P> to;
      to.depthwise = P::pack_filter(*block);
      to.first = P::pack(block->first, activation);
      if (block->second.weight) to.second = P::pack(block->second, activation);
      if (block->reduce.weight) to.reduce = pack_dense<typename P::Wide>(block->reduce),
          to.expand = pack_dense<typename P::Wide>(block->expand);
      to.shortcut = block->shortcut;
      blocks.push_back(std::move(to));
    }
    if (from.hidden.weight) hidden = pack_dense<typename P::Head>(from.hidden);
    classifier = pack_dense<typename P::Head>(from.classifier);
  }
};

// Seconds by step of the network; without slots nothing is measured. Steps: the stem, five of every block, three of the head.
struct Laps {
  using Clock = std::chrono::steady_clock;
  enum { depthwise, squeeze, first, second, shortcut, steps };
  double* slots = nullptr;
  Clock::time_point last{};

  static int stem() { return 0; }
  static int block(int index, int step) { return 1 + index * steps + step; }
  void start() {
    if (slots) last = Clock::now();
  }
  void lap(int slot) {
    if (!slots) return;
    auto now = Clock::now();
    slots[slot] += std::chrono::duration<double>(now - last).count();
    last = now;
  }
};

// Memory that a strip needs: what the depthwise convolution leaves, the operand, and the operand of a second step.
template <class P> struct Scratch {
  Buffer<typename P::Middle> strip;
  Buffer<char> operand, second;
};

inline int outputs(int size, int stride) { return (size - 1) / stride + 1; }

// Everything that depends on the size of the image and on the number of threads.
template <class P> struct Plan {
  struct Step {
    Map<typename P::Element> in, out;
    int rows = 0;                     // of a strip
    bool whole = false;               // the map is not cut into strips
    std::vector<int32_t> place, straight;  // of pixels in the map, and in an operand
  };
  Arena arena;  // of all that follows
  int height, width, stem_rows;
  std::vector<Buffer<typename P::Element>> maps;
  std::vector<Step> steps;
  std::vector<Scratch<P>> scratch;   // one a thread
  Scratch<P> shared;
  Buffer<float> image_rows, gate, reduced, sums;
  size_t image_rows_size;

  Plan(const Network<P>& network, int height, int width, int threads);
};

template <class P> Plan<P>::Plan(const Network<P>& network, int height, int width, int threads) : height(height), width(width) {
  using T = typename P::Element;
  Arena::Scope scope(arena);
  const auto& blocks_ = network.blocks;
  auto halo_of = [&](size_t i) { return i < blocks_.size() ? blocks_[i].depthwise.kernel / 2 : 0; };
  int h = outputs(height, network.stem.stride_y), w = outputs(width, network.stem.stride_x);
  auto new_map = [&](int channels, int halo) {
    maps.emplace_back(Map<T>::size(channels, h, w, halo));
    return Map<T>(maps.back().data(), h, w, halo);
  };
  Map<T> map = new_map(network.stem.out, halo_of(0));
  size_t strip = 0, operand = 0, second = 0, all_strip = 0, all_operand = 0, all_second = 0;
  int widest = BLOCK;
  for (size_t i = 0; i < blocks_.size(); i++) {
    const Block<P>& block = blocks_[i];
    Step step;
    step.in = map;
    h = outputs(h, block.depthwise.stride_y), w = outputs(w, block.depthwise.stride_x);
    // Where two blocks follow each other at one size, the map before the last is free again, and still in the cache.
    bool again = i >= 2 && steps[i - 2].out.height == h && steps[i - 2].out.width == w && steps[i - 2].out.halo == halo_of(i +
        1) && blocks_[i - 2].out() == block.out();
    step.out = map = again ? steps[i - 2].out : new_map(block.out(), halo_of(i + 1));
    step.whole = block.reduce.out || (threads > 1 && h < 28);
    int channels = block.depthwise.channels, between = block.second.out ? block.first.out : 0;
    size_t budget = threads == 1 ? P::STRIP : std::min<size_t>(P::STRIP, 96 << 10);
    step.rows = 1;
    while (step.rows < h && P::Operand::bytes(channels, (step.rows + 1) * w) <= budget) step.rows++;
    if (threads > 1) step.rows = std::min(step.rows, (h + 2 * threads - 1) / (2 * threads));
    if (step.whole) step.rows = h;
    int pixels = step.rows * w;
    for (int p = 0; p < pixels; p++) step.place.push_back((int32_t)(p / w * step.out.row + p % w * BLOCK)),
        step.straight.push_back(p * (P::direct(between) ? P::Operand::step : BLOCK));
    widest = std::max({widest, up(channels, 4 * BLOCK), up(block.reduce.out, 4 * BLOCK)});
    auto widen = [&](size_t& to, size_t value) { to = std::max(to, value); };
    int in_strip = std::max(P::direct(channels) && !step.whole ? 0 : channels, P::direct(between) ? 0 : between);
    widen(step.whole ? all_strip : strip, (size_t)blocks(in_strip) * BLOCK * pixels);
    widen(step.whole ? all_operand : operand, P::Operand::bytes(channels, pixels));
    widen(step.whole ? all_second : second, P::Operand::bytes(between, pixels));
    steps.push_back(std::move(step));
  }
  for (int t = 0; t < threads; t++) scratch.push_back({Buffer<typename P::Middle>(strip), Buffer<char>(operand),
      Buffer<char>(second)});
  shared = {Buffer<typename P::Middle>(all_strip), Buffer<char>(all_operand), Buffer<char>(all_second)};
  gate = Buffer<float>(widest), reduced = Buffer<float>(widest), sums = Buffer<float>(widest);
  stem_rows = std::min(steps[0].in.height, 8);
  image_rows_size = up((int)ImageRows::size(network.stem, width, stem_rows), 16);
  image_rows = Buffer<float>(image_rows_size * threads);
}

template <class T> static void add_rows(const Map<T>& in, const Map<T>& out, int count, int from, int to) {
  for (int block = 0; block < count; block++)
    for (int y = from; y < to; y++)
      for (int x = 0; x < out.width * BLOCK; x += LANES) store(out.at(block, y, 0) + x, load(out.at(block, y,
          0) + x) + load(in.at(block, y, 0) + x));
}

// The sum over the pixels of one block, row by row.
template <class T> static void mean(const T* from, size_t row, int height, int width, float* out) {
  for (int part = 0; part < BLOCK; part += LANES) {
    Vector sum{};
    for (int y = 0; y < height; y++)
      for (int x = 0; x < width; x++) sum += load(from + y * row + (size_t)x * BLOCK + part);
    store(out + part, sum * splat(1.f / ((float)height * width)));
  }
}

// The second half of a strip: one or two products, from the operand in `scratch` to rows [y, ...) of the map.
template <class P> struct Products {
  const Network<P>& network;
  const Block<P>& block;
  const typename Plan<P>::Step& step;
  const Scratch<P>& scratch;
  int pixels;

  typename P::Operand operand() const { return {scratch.operand.data(), block.depthwise.channels, pixels}; }
  typename P::Operand between() const { return {scratch.second.data(), block.first.out, pixels}; }
  Target<typename P::Element> rows(int y) const { return {step.out.at(0, y, 0), 2 * step.out.plane, step.out.plane,
      step.place.data()}; }

  void last(int y, int from, int to, int low, int high) const {
    if (block.second.out) P::product(block.second, between(), from, to, low, high, rows(y), network.activation);
    else P::product(block.first, operand(), from, to, low, high, rows(y), network.activation);
  }
  // Only where there are two steps.
  void first(int from, int to, int low, int high) const {
    if (P::direct(block.first.out)) P::product(block.first, operand(), from, to, low, high,
        between().target(step.straight.data()), network.activation);
    else P::product(block.first, operand(), from, to, low, high, Target<typename P::Middle>{scratch.strip.data(),
        (size_t)pixels * 2 * BLOCK, (size_t)pixels * BLOCK, step.straight.data()}, network.activation);
  }
  void middle(int from, int to) const {
    if (P::direct(block.first.out)) between().close(from, to);
    else P::prepare(scratch.strip.data(), (size_t)pixels * BLOCK, nullptr, between(), block.first.out, from, to,
        network.activation);
  }
};

template <class P> class Run {
 public:
  Run(const Network<P>& network, Plan<P>& plan, Team& team, Laps laps) : network(network), plan(plan), team(team), laps(laps) {}

  // One image [channels][height][width] to the mean of the last map.
  void operator()(const float* image, float* features) {
    laps.start();
    stem(image);
    laps.lap(Laps::stem());
    for (size_t i = 0; i < network.blocks.size(); i++) {
      if (plan.steps[i].whole) whole((int)i);
      else strips((int)i);
    }
    const auto& map = plan.steps.back().out;
    for (int block = 0; block < blocks(network.blocks.back().out()); block++) mean(map.at(block, 0, 0), map.row, map.height,
        map.width, features + block * BLOCK);
    laps.lap(Laps::block((int)network.blocks.size(), 0));
  }

 private:
  const Network<P>& network;
  Plan<P>& plan;
  Team& team;
  Laps laps;

  void stem(const float* image) {
    const auto& out = plan.steps[0].in;
    team((out.height + plan.stem_rows - 1) / plan.stem_rows, [&](int task, int thread) {
      int from = task * plan.stem_rows, to = std::min(out.height, from + plan.stem_rows);
      P::stem(network.stem, image, plan.height, plan.width, from, to, out,
          plan.image_rows.data() + thread * plan.image_rows_size, network.activation);
    });
  }

  // One block of channels of rows [from, to), into the strip or straight into the operand.
  void depthwise_rows(bool direct, const Products<P>& products, int channel_block, int from, int to) {
    const auto& step = products.step;
    auto into = [&](auto where) { P::depthwise(products.block.depthwise, step.in, channel_block, from, to, step.out.width,
        network.activation, where); };
    if (direct) into(products.operand());
    else into(products.scratch.strip.data() + (size_t)channel_block * products.pixels * BLOCK);
  }

  void strips(int index) {
    const auto& block = network.blocks[index];
    const auto& step = plan.steps[index];
    int height = step.out.height;
    bool direct = P::direct(block.depthwise.channels);
    team((height + step.rows - 1) / step.rows, [&](int task, int thread) {
      int from = task * step.rows, to = std::min(height, from + step.rows), pixels = (to - from) * step.out.width;
      Products<P> products{network, block, step, plan.scratch[thread], pixels};
      for (int c = 0; c < blocks(block.depthwise.channels); c++) depthwise_rows(direct, products, c, from, to);
      if (!direct) P::prepare(products.scratch.strip.data(), (size_t)pixels * BLOCK, nullptr, products.operand(),
          block.depthwise.channels, 0, pixels, network.activation);
      laps.lap(Laps::block(index, Laps::depthwise));
      if (block.second.out) {
        products.first(0, pixels, 0, block.first.panels());
        products.middle(0, pixels);
        laps.lap(Laps::block(index, Laps::first));
      }
      products.last(from, 0, pixels, 0, (block.second.out ? block.second : block.first).panels());
      laps.lap(Laps::block(index, block.second.out ? Laps::second : Laps::first));
      if (block.shortcut) add_rows(step.in, step.out, blocks(block.out()), from, to), laps.lap(Laps::block(index,
          Laps::shortcut));
    });
  }

  // tasks of a product: panels of output channels, and pixels too where there are few panels for many threads.
  template <class Task> void share(int panels, int pixels, Task&& task) {
    int threads = team.threads(), tiles = up(pixels, P::UNIT) / P::UNIT;
    int cuts = threads == 1 ? 1 : std::clamp(4 * threads / panels, 1, std::max(1, tiles / 2));
    int groups = threads == 1 ? 1 : panels;
    team(groups * cuts, [&](int i, int) {
      int group = i / cuts, cut = i % cuts, from = tiles * cut / cuts * P::UNIT, to = std::min(pixels,
          tiles * (cut + 1) / cuts * P::UNIT);
      task(from, to, panels * group / groups, panels * (group + 1) / groups);
    });
  }

  void whole(int index) {
    const auto& block = network.blocks[index];
    const auto& step = plan.steps[index];
    int height = step.out.height, pixels = height * step.out.width, count = blocks(block.depthwise.channels);
    Products<P> products{network, block, step, plan.shared, pixels};
    bool direct = P::direct(block.depthwise.channels) && !block.reduce.out;
    team(count, [&](int c, int) {
      depthwise_rows(direct, products, c, 0, height);
      if (block.reduce.out) mean(plan.shared.strip.data() + (size_t)c * pixels * BLOCK, (size_t)step.out.width * BLOCK,
          height, step.out.width, plan.sums.data() + c * BLOCK);
    });
    laps.lap(Laps::block(index, Laps::depthwise));
    if (block.reduce.out) squeeze(block);
    if (!direct) {
      int parts = std::min(pixels, team.threads() == 1 ? 1 : 2 * team.threads());
      auto gate = block.reduce.out ? plan.gate.data() : nullptr;
      auto edge = [&](int part) { return part == parts ? pixels : pixels * part / parts / P::UNIT * P::UNIT; };
      team(parts, [&](int part, int) { P::prepare(plan.shared.strip.data(), (size_t)pixels * BLOCK, gate, products.operand(),
          block.depthwise.channels, edge(part), edge(part + 1), network.activation); });
      laps.lap(Laps::block(index, Laps::squeeze));
    }
    if (block.second.out) {
      share(block.first.panels(), pixels, [&](int from, int to, int low, int high) { products.first(from, to, low, high); });
      products.middle(0, pixels);
      laps.lap(Laps::block(index, Laps::first));
    }
    share((block.second.out ? block.second : block.first).panels(), pixels, [&](int from, int to, int low, int high) {
        products.last(0, from, to, low, high); });
    laps.lap(Laps::block(index, block.second.out ? Laps::second : Laps::first));
    if (block.shortcut) add_rows(step.in, step.out, blocks(block.out()), 0, height), laps.lap(Laps::block(index, Laps::shortcut));
  }

  // From the means of the channels to their gates.
  void squeeze(const Block<P>& block) {
    dense(team, block.reduce, plan.sums.data(), 0, plan.reduced.data(), 0, 1, Activation::relu);
    dense(team, block.expand, plan.reduced.data(), 0, plan.gate.data(), 0, 1, Activation::none);
    for (int c = 0; c < up(block.expand.out, BLOCK); c += LANES) {
      float* gate = plan.gate.data() + c;
      if (!network.sigmoid) store(gate, hard_sigmoid(load(gate)));
      else
        for (int i = 0; i < LANES; i++) gate[i] = 1 / (1 + std::exp(-gate[i]));
    }
  }
};

}  // namespace lcnet
