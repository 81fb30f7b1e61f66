// Pointwise convolution in bf16: operands of 16 bits, sums in fp32.
//
// A product instruction takes two neighbouring channels at once, so weights are kept in pairs, and a strip keeps 32
// channels of a pixel side by side: 64 bytes, a row of an AMX tile as well.
#pragma once

#include "pointwise.h"
#include "tile.h"

#if defined(__AVX512BF16__)
namespace lcnet {

// What both ways to multiply bf16 share: the maps, the strips, the weights.
struct Brains {
  using Element = Half;
  using Middle = float;
  static bool direct(int) { return true; }
  static constexpr int panel = 2 * BLOCK, UNIT = TILE;
  static constexpr size_t STRIP = 256 << 10;
  using Wide = Brain;
  using Head = Brain;

  struct Weights {
    int in = 0, out = 0, depth = 0;
    Buffer<Brain> values;  // [out/32][depth/2 pairs][2][16][2]
    Buffer<float> bias;
    int panels() const { return up(out, panel) / panel; }
    const void* data() const { return values.data(); }
    size_t bytes() const { return (size_t)panels() * depth * panel * sizeof(Brain); }
  };
  static Weights pack(const LinearValues& from, Activation, float scale = 1) {
    Weights to;
    to.in = from.in, to.out = from.out, to.depth = up(from.in, 2 * BLOCK);
    to.values = Buffer<Brain>((size_t)to.panels() * to.depth * panel);
    to.bias = padded(from.bias, from.out);
    for (int o = 0; o < from.out; o++)
      for (int k = 0; k < from.in; k++) {
        size_t row = (size_t)(o / panel) * to.depth / 2 + k / 2;
        to.values[row * 2 * panel + o % panel * 2 + k % 2] = brain(from.weight[(size_t)o * from.in + k] * scale);
      }
    return to;
  }

  struct Sink {
    Brain* data;
    bool last;  // of an odd number of blocks: its missing neighbour is zero, since what lies there could be no number
    INLINE_MEMBER void put(int pixel, Vector value) const {
      store(data + (size_t)pixel * 2 * BLOCK, value);
      if (last) _mm256_storeu_si256((__m256i*)(data + (size_t)pixel * 2 * BLOCK + BLOCK), _mm256_setzero_si256());
    }
  };
  // [channels/32][pixels][32]
  struct Operand {
    Brain* data;
    size_t plane;
    int count;
    Operand(void* memory, int channels, int pixels) : data((Brain*)memory), plane((size_t)pixels * 2 * BLOCK),
        count(blocks(channels)) {}
    static size_t bytes(int channels, int pixels) { return (size_t)up(blocks(channels), 2) * BLOCK * pixels * sizeof(Brain); }
    Sink sink(int block) const { return Sink{data + block / 2 * plane + block % 2 * BLOCK,
        block + 1 == count && block % 2 == 0}; }
    Target<Brain> target(const int32_t* places) const { return Target<Brain>{data, plane, BLOCK, places}; }
    static constexpr int step = 2 * BLOCK;
    void close(int from, int to) const {
      if (count % 2 == 0) return;
      for (int pixel = from; pixel < to; pixel++) std::memset(data + count / 2 * plane + (size_t)pixel * step + BLOCK, 0,
          BLOCK * sizeof(Brain));
    }
  };

  static Stem pack_stem(const NetworkValues& from) { return lcnet::pack_stem(from); }
  static void stem(const Stem& stem, const float* image, int height, int width, int from, int to, const Map<Element>& out,
      float* memory, Activation activation) {
    stem_rows(stem, image, height, width, from, to, out, memory, activation);
  }
  static Depthwise pack_filter(const BlockValues& from) { return pack_depthwise(from); }
  static void depthwise(const Depthwise& layer, const Map<Element>& map, int block, int from, int to, int width,
      Activation activation, const Operand& operand) {
    lcnet::depthwise(layer, map, block, from, to, width, activation, [&](int) { return operand.sink(block); });
  }
  static void depthwise(const Depthwise& layer, const Map<Element>& map, int block, int from, int to, int width,
      Activation activation, float* middle) {
    lcnet::depthwise(layer, map, block, from, to, width, activation, [&](int part) { return Floats{middle + part * LANES}; });
  }

  static void prepare(const float* middle, size_t plane, const float* gate, const Operand& operand, int channels, int from,
      int to, Activation) {
    for (int block = 0; block < blocks(channels); block++) {
      Vector by = load(gate + block * BLOCK);
      Sink sink = operand.sink(block);
      for (int pixel = from; pixel < to; pixel++) sink.put(pixel, load(middle + block * plane + (size_t)pixel * BLOCK) * by);
    }
  }
};

// The instruction itself: GCC 12 carries sums to memory and back around the intrinsic.
struct BrainDot {
  using Value = Vector;
  INLINE Value add(Value sum, Integers pixels, Integers weights) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(pixels), "v"(weights));
    return sum;
  }
};

// vdpbf16ps: tiles in vector registers as for fp32.
struct Dots : Brains {
  template <int PIXELS, int N, class T>
  static __attribute__((noinline)) void tile(const Brain* in, size_t plane, const Brain* weight, int depth, const float* bias, const Target<T>& out,
      int channel, int pixel, Activation activation) {
    Sums<BrainDot, PIXELS, N> sums(load(bias), load(bias + (N - 1) * BLOCK));
    ROLLED for (int k = 0; k < depth; k += 2 * BLOCK, in += plane) {
      const char *at = (const char*)in, *const end = at + 2 * BLOCK * sizeof(Brain);
      ROLLED for (; at < end; at += 4, weight += 2 * panel)
        sums.add(at, 2 * BLOCK * sizeof(Brain), load_integers(weight), load_integers(weight + panel));
    }
    const int32_t* place = out.place + pixel;
    choose(activation, [&](auto choice) __attribute__((always_inline)) {
      auto finish = [&](T* to) __attribute__((always_inline)) {
        return [=](int p, Vector sum) __attribute__((always_inline)) { store(to + place[p], activated<choice.value>(sum)); };
      };
      sums.first(finish(out.at(channel / BLOCK)));
      if constexpr (N > 1) sums.second(finish(out.at(channel / BLOCK + 1)));
    });
  }
  template <int PIXELS, int N, class T>
  static void tile_of(int pixels, const Brain* in, size_t plane, const Brain* weight, int depth, const float* bias,
      const Target<T>& out, int channel, int pixel, Activation activation) {
    if (pixels == PIXELS) return tile<PIXELS, N>(in, plane, weight, depth, bias, out, channel, pixel, activation);
    if constexpr (PIXELS > 1) tile_of<PIXELS - 1, N>(pixels, in, plane, weight, depth, bias, out, channel, pixel, activation);
  }
  template <class T>
  static void product(const Weights& layer, const Operand& operand, int from, int to, int low, int high, const Target<T>& out,
      Activation activation) {
    for (int p = low; p < high; p++) {
      const Brain* weight = layer.values.data() + (size_t)p * layer.depth * panel;
      const float* bias = layer.bias.data() + p * panel;
      const bool both = blocks(layer.out) - 2 * p > 1;
      for (int pixel = from; pixel < to; pixel += TILE) {
        const Brain* in = operand.data + (size_t)pixel * 2 * BLOCK;
        const int pixels = std::min(TILE, to - pixel);
        if (both) tile_of<TILE, 2>(pixels, in, operand.plane, weight, layer.depth, bias, out, p * panel, pixel, activation);
        else tile_of<TILE, 1>(pixels, in, operand.plane, weight, layer.depth, bias, out, p * panel, pixel, activation);
      }
    }
  }
};

}  // namespace lcnet
#endif
