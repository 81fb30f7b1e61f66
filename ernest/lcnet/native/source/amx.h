// Pointwise convolution in bf16 with the tile registers of AMX: two by two tiles of 16 pixels times 16 output channels.
//
// A tile product takes 16 cycles whatever the tiles hold, and the vector units are free meanwhile. So the sums of one
// group of tiles are activated and stored while the next group is multiplied. Maps and depthwise convolutions are in halves.
#pragma once

#include "amx_stem.h"

#if defined(__AMX_BF16__) && defined(__AVX512FP16__)
namespace lcnet {

// The sums of a group, and what is still to be done with them: four quarters, sixteen pixels of a block of channels each.
template <class T> struct Finished {
  alignas(64) float sums[2][2][16][BLOCK];  // [sixteen of pixels][block][pixel]
  T* block[2] = {};                         // null: none
  const int32_t* place = nullptr;
  int pixels = 0;

  template <Activation A> INLINE_MEMBER void quarter(int q) const {
    T* to = block[q % 2];
    const int32_t* at = place + q / 2 * 16;
    const float* two = sums[q / 2][q % 2][0];
    int count = to ? pixels - q / 2 * 16 : 0;
    if (count >= 16) {
      for (int p = 0; p < 16; p += 2, two += 2 * BLOCK) {
        __m512i values = encoded(activated<A>(load_pair(two)), to);
        store_low(to + at[p], values), store_high(to + at[p + 1], values);
      }
    } else {
      for (int p = 0; p < count; p += 2, two += 2 * BLOCK) {
        __m512i values = encoded(activated<A>(load_pair(two)), to);
        store_low(to + at[p], values);
        if (p + 1 < count) store_high(to + at[p + 1], values);
      }
    }
  }
};

struct Tiles {
  using Element = Half;
  using Middle = Half;
  using Wide = Brain;
  using Head = Wide;
  static bool direct(int) { return true; }
  static constexpr int panel = 2 * BLOCK, UNIT = 32;
  static constexpr size_t STRIP = 32 << 10;  // the strip stays in the level-1 cache: tiles are read faster than level 2 gives

  using Weights = Brains::Weights;
  static Weights pack(const LinearValues& from, Activation activation) { return Brains::pack(from, activation, UNSCALE); }
  static Stem pack_stem(const NetworkValues& from) {
    Stem stem = lcnet::pack_stem(from);
    if (StemTiles::suit(stem)) StemTiles::pack(stem);
    return stem;
  }
  static void stem(const Stem& stem, const float* image, int height, int width, int from, int to, const Map<Half>& out,
      float* memory, Activation activation) {
    if (StemTiles::suit(stem)) StemTiles::run(stem, image, height, width, from, to, out, memory, activation);
    else stem_rows(stem, image, height, width, from, to, out, memory, activation);
  }

  static Depthwise pack_filter(const BlockValues& from) {
    Depthwise layer = pack_depthwise(from);
    pack_halves(layer);
    return layer;
  }

  // Pixels of the operand are 64 bytes: 32 channels, a row of a tile. The missing neighbour of a last odd block is zero.
  struct OperandSink {
    Scaled* data;
    bool last;
    INLINE_MEMBER void first(int pixel, Halves pair) const {
      Scaled* to = data + (size_t)pixel * 2 * BLOCK;
      store_low(to, scaled(pair));
      if (last) store_low(to + BLOCK, _mm512_setzero_si512());
    }
    INLINE_MEMBER void both(int pixel, Halves pair) const {
      Scaled* to = data + (size_t)pixel * 2 * BLOCK;
      __m512i values = scaled(pair);
      store_low(to, values);
      store_high(to + 2 * BLOCK, values);
      if (last) store_low(to + BLOCK, _mm512_setzero_si512()), store_low(to + 3 * BLOCK, _mm512_setzero_si512());
    }
  };
  struct MiddleSink {
    Half* data;
    INLINE_MEMBER void first(int pixel, Halves pair) const { store_low(data + (size_t)pixel * BLOCK, (__m512i)pair); }
    INLINE_MEMBER void both(int pixel, Halves pair) const { _mm512_storeu_si512(data + (size_t)pixel * BLOCK, (__m512i)pair); }
  };
  // [channels/32][pixels][32]
  struct Operand {
    Scaled* data;
    size_t plane;
    int count;
    Operand(void* memory, int channels, int pixels) : data((Scaled*)memory), plane((size_t)pixels * 2 * BLOCK),
        count(blocks(channels)) {}
    static size_t bytes(int channels, int pixels) { return (size_t)up(blocks(channels), 2) * BLOCK * pixels * sizeof(Scaled); }
    OperandSink sink(int block) const { return {data + block / 2 * plane + block % 2 * BLOCK,
        block + 1 == count && block % 2 == 0}; }
    Target<Scaled> target(const int32_t* places) const { return {data, plane, BLOCK, places}; }
    static constexpr int step = 2 * BLOCK;
    void close(int from, int to) const {
      if (count % 2 == 0) return;
      for (int pixel = from; pixel < to; pixel++) store_low(data + count / 2 * plane + (size_t)pixel * step + BLOCK,
          _mm512_setzero_si512());
    }
  };

  static void depthwise(const Depthwise& layer, const Map<Half>& map, int block, int from, int to, int width,
      Activation activation, const Operand& operand) {
    depthwise16(layer, map, block, from, to, width, activation, operand.sink(block));
  }
  static void depthwise(const Depthwise& layer, const Map<Half>& map, int block, int from, int to, int width,
      Activation activation, Half* middle) {
    depthwise16(layer, map, block, from, to, width, activation, MiddleSink{middle});
  }

  // From the strip, of halves or floats, to the operand, times the gate of squeeze-and-excite.
  template <class T>
  static void prepare(const T* middle, size_t plane, const float* gate, const Operand& operand, int channels, int from,
      int to, Activation) {
    for (int block = 0; block < blocks(channels); block++) {
      Half gates[2 * BLOCK];
      store(gates, load(gate + block * BLOCK)), store(gates + BLOCK, load(gate + block * BLOCK));
      Halves by = load_pair(gates);
      OperandSink sink = operand.sink(block);
      const T* in = middle + block * plane;
      int pixel = from;
      for (; pixel + 2 <= to; pixel += 2) sink.both(pixel, _mm512_mul_ph(load_pair(in + (size_t)pixel * BLOCK), by));
      if (pixel < to) sink.first(pixel, _mm512_mul_ph(load_pair(in + (size_t)pixel * BLOCK), by));
    }
  }

  // Sums of a group of 32 pixels (SECOND) or 16, while `before` is being finished.
  template <bool SECOND, Activation A, class T>
  INLINE void group(const Scaled* in, size_t plane, const Brain* weight, int depth, const float* bias, float* sums,
      const Finished<T>& before) {
    int quarter = 0;
    load_tile<0>(bias, 0);  // every row the same: the sums start at the bias
    load_tile<1>(bias + BLOCK, 0);
    if (SECOND) load_tile<2>(bias, 0), load_tile<3>(bias + BLOCK, 0);
    for (int k = 0; k < depth; k += 2 * BLOCK, in += plane, weight += 2 * BLOCK * panel) {
      load_tile<4>(in, 64);
      load_tile<6>(weight, 128);
      multiply_tiles<0, 4, 6>();
      load_tile<7>(weight + 2 * BLOCK, 128);
      multiply_tiles<1, 4, 7>();
      if (SECOND) {
        load_tile<5>(in + 16 * 2 * BLOCK, 64);
        multiply_tiles<2, 5, 6>();
        multiply_tiles<3, 5, 7>();
      }
      for (int due = 4 * (k + 2 * BLOCK) / depth; quarter < due; quarter++) before.template quarter<A>(quarter);
    }
    store_tile<0>(sums), store_tile<1>(sums + 256);
    if (SECOND) store_tile<2>(sums + 512), store_tile<3>(sums + 768);
  }

  template <Activation A, class T>
  static void multiply(const Weights& layer, const Operand& operand, int from, int to, int low, int high, const Target<T>& out) {
    // What a tile has stored can be read at once only by waiting for it, so sums rest for a turn.
    Finished<T> finished[3];
    int turn = 0;
    shape_tiles(TileShapes());
    for (int p = low; p < high; p++) {
      const Brain* weight = layer.values.data() + (size_t)p * layer.depth * panel;
      const float* bias = layer.bias.data() + p * panel;
      for (int pixel = from; pixel < to; pixel += 32, turn = (turn + 1) % 3) {
        Finished<T>&now = finished[turn], &before = finished[(turn + 1) % 3];
        const Scaled* in = operand.data + (size_t)pixel * 2 * BLOCK;
        if (pixel + 16 < to) group<true, A>(in, operand.plane, weight, layer.depth, bias, now.sums[0][0][0], before);
        else group<false, A>(in, operand.plane, weight, layer.depth, bias, now.sums[0][0][0], before);
        now.block[0] = out.at(2 * p), now.block[1] = 2 * p + 1 < blocks(layer.out) ? out.at(2 * p + 1) : nullptr;
        now.place = out.place + pixel, now.pixels = to - pixel;
      }
    }
    for (int i = 1; i < 3; i++)
      for (int q = 0; q < 4; q++) finished[(turn + i) % 3].template quarter<A>(q);
    release_tiles();
  }
  template <class T>
  static void product(const Weights& layer, const Operand& operand, int from, int to, int low, int high,
      const Target<T>& out, Activation activation) {
    choose(activation, [&](auto choice) { multiply<choice.value>(layer, operand, from, to, low, high, out); });
  }
};

}  // namespace lcnet
#endif
