// Pointwise convolution in fp32: a product of matrices, a tile of pixels times output channels at a time in registers.
//
// This is also the pattern of a precision, see `network.h`, `run.h`: `Singles` says how maps, strips and weights are kept,
// and multiplies a strip of pixels.
#pragma once

#include "depthwise.h"
#include "stem.h"

namespace lcnet {

// TILE pixels by VECTORS vectors of output channels: as many sums as the registers hold beside the weights in flight.
#if defined(__AVX512F__)
constexpr int TILE = 14, VECTORS = 2;  // 28 of 32 registers
#elif defined(__AVX__)
constexpr int TILE = 6, VECTORS = 2;  // 12 of 16
#elif defined(__aarch64__)
constexpr int TILE = 6, VECTORS = 4;  // 24 of 32
#else
constexpr int TILE = 6, VECTORS = 2;  // 12 of 16
#endif
constexpr int PANEL = VECTORS * LANES;  // output channels that are summed together
constexpr int LINE = 64 / sizeof(float);  // of the cache

// Weights that will be needed next, and how many lines of them to fetch for every 8 inputs. From the last level of cache one
// core gets some 20 GB/s, less than a product takes: without this the first tile of every panel waits for its weights.
struct Ahead {
  const float* next;
  int lines;
};

// PIXELS pixels of a strip [channels/16][pixels][16], N vectors of outputs.
template <int PIXELS, int N, class T>
static void tile(const float* in, size_t plane, const float* weight, int depth, Ahead ahead, const float* bias,
    const Target<T>& out, int channel, int pixel, Activation activation) {
  Vector sum[PIXELS][N];
  UNROLL for (int p = 0; p < PIXELS; p++)
    UNROLL for (int v = 0; v < N; v++) sum[p][v] = load(bias + v * LANES);
  ROLLED for (int k = 0; k < depth; k += 8, weight += 8 * PANEL) {
    for (int i = 0; i < ahead.lines; i++, ahead.next += LINE) prefetch(ahead.next);
    const float* values = in + k / BLOCK * plane + k % BLOCK;
    ROLLED for (int j = 0; j < 8; j++) {
      Vector w[N];
      UNROLL for (int v = 0; v < N; v++) w[v] = load(weight + j * PANEL + v * LANES);
      UNROLL for (int p = 0; p < PIXELS; p++) {
        Vector x = splat(values[p * BLOCK + j]);
        UNROLL for (int v = 0; v < N; v++) sum[p][v] += x * w[v];
      }
    }
  }
  const int32_t* place = out.place + pixel;
  choose(activation, [&](auto choice) __attribute__((always_inline)) {
    UNROLL for (int v = 0; v < N; v++) {
      T* to = out.at((channel + v * LANES) / BLOCK) + (channel + v * LANES) % BLOCK;
      UNROLL for (int p = 0; p < PIXELS; p++) store(to + place[p], activated<choice.value>(sum[p][v]));
    }
  });
}

// The last pixels of a strip: a tile that fits.
template <int PIXELS, int N, class T>
static void tile_of(int pixels, const float* in, size_t plane, const float* weight, int depth, Ahead ahead, const float* bias,
    const Target<T>& out, int channel, int pixel, Activation activation) {
  if (pixels == PIXELS) return tile<PIXELS, N>(in, plane, weight, depth, ahead, bias, out, channel, pixel, activation);
  if constexpr (PIXELS > 1) tile_of<PIXELS - 1, N>(pixels, in, plane, weight, depth, ahead, bias, out, channel, pixel, activation);
}

template <class Map_, class Weight> struct Singles {
  using Element = Map_;   // of the maps between blocks
  using Middle = float;   // of what the depthwise convolution leaves
  // whether what so many channels leave is the operand itself, or a strip to prepare it from
  static bool direct(int) { return true; }
  static constexpr int panel = PANEL;
  static constexpr int UNIT = TILE;           // pixels that are multiplied together
  static constexpr size_t STRIP = 256 << 10;  // bytes of a strip: half of a level-2 cache or less
  using Wide = Weight;                        // of squeeze-and-excite
  using Head = Weight;                        // and of the last layers

  struct Weights {
    int in = 0, out = 0, depth = 0;
    Buffer<float> values, bias;  // [out/PANEL][depth][PANEL]
    int panels() const { return up(up(out, BLOCK), PANEL) / PANEL; }
    const void* data() const { return values.data(); }
    size_t bytes() const { return (size_t)panels() * depth * PANEL * sizeof(float); }
  };
  static Weights pack(const LinearValues& from, Activation) {
    Weights to;
    to.in = from.in, to.out = from.out, to.depth = up(from.in, 8);
    to.values = Buffer<float>((size_t)to.panels() * to.depth * PANEL);
    to.bias = padded(from.bias, from.out);
    for (int o = 0; o < from.out; o++)
      for (int k = 0; k < from.in; k++)
        to.values[((size_t)(o / PANEL) * to.depth + k) * PANEL + o % PANEL] = from.weight[(size_t)o * from.in + k];
    return to;
  }

  // The strip that is multiplied: [channels/16][pixels][16].
  struct Operand {
    float* data;
    size_t plane;
    Operand(void* memory, int channels, int pixels) : data((float*)memory), plane((size_t)pixels * BLOCK) { (void)channels; }
    static size_t bytes(int channels, int pixels) { return (size_t)blocks(channels) * BLOCK * pixels * sizeof(float); }
    Target<float> target(const int32_t* places) const { return Target<float>{data, 2 * plane, plane, places}; }
    static constexpr int step = BLOCK;  // between pixels
    void close(int, int) const {}       // after a product has written this operand; see `Brains`
  };

  static Stem pack_stem(const NetworkValues& from) { return lcnet::pack_stem(from); }
  static void stem(const Stem& stem, const float* image, int height, int width, int from, int to, const Map<Element>& out,
      float* memory, Activation activation) {
    stem_rows(stem, image, height, width, from, to, out, memory, activation);
  }
  static Depthwise pack_filter(const BlockValues& from) { return pack_depthwise(from); }
  static void depthwise(const Depthwise& layer, const Map<Element>& map, int block, int from, int to, int width,
      Activation activation, float* middle) {
    auto sinks = [&](int part) { return Floats{middle + part * LANES}; };
    // No product reads further than to the eighth channel then.
    if (fits_eight(layer.channels)) lcnet::depthwise<true>(layer, map, block, from, to, width, activation, sinks);
    else lcnet::depthwise(layer, map, block, from, to, width, activation, sinks);
  }
  static void depthwise(const Depthwise& layer, const Map<Element>& map, int block, int from, int to, int width,
      Activation activation, const Operand& operand) {
    depthwise(layer, map, block, from, to, width, activation, operand.data + block * operand.plane);
  }

  // From fp32 sums to the operand, times the gate of squeeze-and-excite: only pixels [from, to).
  static void prepare(const float* middle, size_t plane, const float* gate, const Operand& operand, int channels, int from,
      int to, Activation) {
    for (int block = 0; block < blocks(channels); block++)
      for (int pixel = from; pixel < to; pixel++)
        for (int part = 0; part < BLOCK; part += LANES) {
          Vector value = load(middle + block * plane + (size_t)pixel * BLOCK + part);
          store(operand.data + block * operand.plane + (size_t)pixel * BLOCK + part, value * load(gate + block * BLOCK + part));
        }
  }

  // Output panels [low, high) of pixels [from, to); pixel `from` of the operand goes to place[from].
  template <class T>
  static void product(const Weights& layer, const Operand& operand, int from, int to, int low, int high, const Target<T>& out,
      Activation activation) {
    const int tiles = up(to - from, TILE) / TILE, lines = up(8 * PANEL, tiles * LINE) / (tiles * LINE);
    for (int panel = low; panel < high; panel++) {
      const float* weight = layer.values.data() + (size_t)panel * layer.depth * PANEL;
      const float* bias = layer.bias.data() + panel * PANEL;
      Ahead ahead{weight + (size_t)layer.depth * PANEL, lines};
      bool half = PANEL > BLOCK && up(layer.out, BLOCK) - panel * PANEL < PANEL;
      for (int pixel = from; pixel < to; pixel += TILE, ahead.next += layer.depth / 8 * lines * LINE) {
        const float* in = operand.data + (size_t)pixel * BLOCK;
        int pixels = std::min(TILE, to - pixel), channel = panel * PANEL;
        if (half) tile_of<TILE, (VECTORS + 1) / 2>(pixels, in, operand.plane, weight, layer.depth, ahead, bias, out, channel,
            pixel, activation);
        else tile_of<TILE, VECTORS>(pixels, in, operand.plane, weight, layer.depth, ahead, bias, out, channel, pixel,
            activation);
      }
    }
  }
};
using Single = Singles<float, float>;
// fp32 products between maps of halves, and last layers of bf16 weights: the way to bf16 where fp32 products are the faster ones.
using Halved = Singles<Half, Brain>;

}  // namespace lcnet
