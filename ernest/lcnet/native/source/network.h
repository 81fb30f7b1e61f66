// What a network is made of: the values Python hands over, and the layers with their weights packed for the kernels.
#pragma once

#include <algorithm>
#include <vector>

#include "memory.h"

namespace lcnet {

// As Python's ctypes fills them in (plan.py); rows and columns as PyTorch has them. A missing layer has a null weight.
struct LinearValues {
  int32_t in, out;
  const float *weight, *bias;  // [out][in]; bias may be null
};
struct BlockValues {
  int32_t channels, kernel, stride_y, stride_x, shortcut;
  const float *depthwise, *depthwise_bias;  // [channels][kernel][kernel]
  LinearValues reduce, expand;              // squeeze-and-excite, between depthwise and pointwise
  LinearValues first, second;               // pointwise in one step, or in two
};
struct NetworkValues {
  int32_t in_channels, stem_channels, stride_y, stride_x, activation, sigmoid_gate, blocks;
  const float *stem, *stem_bias;  // [stem_channels][in_channels][3][3]
  const BlockValues* block;
  LinearValues hidden, classifier;
};

// `count` values, or none, and zeros up to a multiple of 64: no kernel works on more output channels at once.
inline Buffer<float> padded(const float* values, int count) {
  Buffer<float> copy(up(count, 4 * BLOCK));
  if (values) std::copy(values, values + count, copy.data());
  return copy;
}

struct Stem {
  int in = 0, out = 0, stride_y = 1, stride_x = 1;
  Buffer<float> weight, bias;  // [out/16][in][3][3][16]
  Buffer<Brain> tiles;         // the weights again, only for amx_stem.h
};

struct Depthwise {
  int channels = 0, kernel = 0, stride_y = 1, stride_x = 1;
  Buffer<float> weight, bias;  // [channels/16][kernel][kernel][16]
  Buffer<Half> halves;         // both again, only for depthwise16.h
};

inline Stem pack_stem(const NetworkValues& from) {
  Stem stem;
  stem.in = from.in_channels, stem.out = from.stem_channels, stem.stride_y = from.stride_y, stem.stride_x = from.stride_x;
  int taps = stem.in * 9;
  stem.weight = Buffer<float>((size_t)blocks(stem.out) * taps * BLOCK);
  stem.bias = padded(from.stem_bias, stem.out);
  for (int o = 0; o < stem.out; o++)
    for (int i = 0; i < taps; i++) stem.weight[((size_t)(o / BLOCK) * taps + i) * BLOCK + o % BLOCK] =
        from.stem[(size_t)o * taps + i];
  return stem;
}

inline Depthwise pack_depthwise(const BlockValues& from) {
  Depthwise layer;
  layer.channels = from.channels, layer.kernel = from.kernel, layer.stride_y = from.stride_y, layer.stride_x = from.stride_x;
  int taps = from.kernel * from.kernel;
  layer.weight = Buffer<float>((size_t)blocks(from.channels) * taps * BLOCK);
  layer.bias = padded(from.depthwise_bias, from.channels);
  for (int c = 0; c < from.channels; c++)
    for (int i = 0; i < taps; i++) layer.weight[((size_t)(c / BLOCK) * taps + i) * BLOCK + c % BLOCK] =
        from.depthwise[(size_t)c * taps + i];
  return layer;
}

}  // namespace lcnet
