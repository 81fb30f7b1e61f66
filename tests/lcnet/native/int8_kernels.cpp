// The int8 kernels one by one, for test_int8.py: arrays in and out, and how long a product takes.
#include <chrono>

#include "amx_int8.h"
#include "int8_dense.h"
#include "vnni.h"

using namespace lcnet;

#if defined(__AMX_INT8__)
using Kernels = CodeTiles;
#else
using Kernels = CodeDots;
#endif

namespace {

template <class T> Buffer<T> copy_of(const T* from, size_t count) {
  Buffer<T> to(count);
  std::copy(from, from + count, to.data());
  return to;
}

// The same numbers as floats or halves; what a depthwise convolution leaves is Kernels::Middle.
template <class T = Kernels::Middle> Buffer<T> strip_of(const float* values, int channels, int pixels, T* = nullptr) {
  const size_t count = (size_t)blocks(channels) * pixels * BLOCK;
  Buffer<T> to(count);
  for (size_t i = 0; i < count; i += LANES) store(to.data() + i, load(values + i));
  return to;
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Weights and quantised pixels of a pointwise convolution; outputs go to [out/16][pixels][16].
struct Layer {
  int pixels;
  Kernels::Weights weights;
  Buffer<char> memory;
  Kernels::Operand operand;
  std::vector<int32_t> place;

  Layer(const float* weight, const float* bias, int in, int out, int activation, const float* values, int pixels)
      : pixels(pixels), weights(Kernels::pack(LinearValues{in, out, weight, bias}, (Activation)activation)), memory(Kernels::Operand::bytes(in, pixels)),
        operand(memory.data(), in, pixels), place(pixels) {
    auto middle = strip_of(values, in, pixels);
    Kernels::prepare(middle.data(), (size_t)pixels * BLOCK, nullptr, operand, in, 0, pixels, (Activation)activation);
    for (int p = 0; p < pixels; p++) place[p] = p * BLOCK;
  }
  template <class T> Target<T> target(T* outputs) const { return {outputs, (size_t)pixels * 2 * BLOCK, (size_t)pixels * BLOCK, place.data()}; }
};

// The compiler must think that a value has been changed.
INLINE void keep(Integers& value) { __asm__ volatile("" : "+v"(value)); }

struct NoTeam {
  int threads() const { return 1; }
  template <class Task> void operator()(int tasks, Task&& task) {
    for (int i = 0; i < tasks; i++) task(i, 0);
  }
};

}  // namespace

extern "C" {

int32_t permitted() {
#if defined(__AMX_INT8__)
  return permit_tiles();
#else
  return 1;
#endif
}

// values [in/16][pixels][16] -> codes [in/64][pixels][64], scales [pixels]; gate [in/16][16] or null.
void quantised(const float* values, const float* gate, int32_t in, int32_t pixels, int32_t activation, uint8_t* codes, float* scales) {
  auto middle = strip_of(values, in, pixels);
  Buffer<float> gates = gate ? copy_of(gate, (size_t)blocks(in) * BLOCK) : Buffer<float>();
  Buffer<char> memory(Kernels::Operand::bytes(in, pixels));
  Kernels::Operand operand(memory.data(), in, pixels);
  Kernels::prepare(middle.data(), (size_t)pixels * BLOCK, gate ? gates.data() : nullptr, operand, in, 0, pixels, (Activation)activation);
  std::copy_n(operand.codes, (size_t)up(in, ROW) * pixels, codes);
  std::copy_n(operand.scales, pixels, scales);
}

// values [in/16][pixels][16] -> out [out/16][pixels][16], rounded to halves, for pixels [from, to) and panels [low, high); others as they were.
void pointwise(const float* weight, const float* bias, int32_t in, int32_t out, int32_t activation, const float* values, int32_t pixels,
               int32_t from, int32_t to, int32_t low, int32_t high, float* result) {
  Layer layer(weight, bias, in, out, activation, values, pixels);
  auto outputs = strip_of(result, out, pixels, (Half*)nullptr);
  Kernels::product(layer.weights, layer.operand, from, to, low, std::min(high, layer.weights.panels()), layer.target(outputs.data()), (Activation)activation);
  for (size_t i = 0; i < (size_t)blocks(out) * pixels * BLOCK; i += LANES) store(result + i, load(outputs.data() + i));
}

// Seconds of the best of some products of all pixels and outputs, as they are in a network: outputs are halves.
double product_seconds(const float* weight, const float* bias, int32_t in, int32_t out, const float* values, int32_t pixels, int32_t repeats) {
  Layer layer(weight, bias, in, out, 2, values, pixels);
  Buffer<Half> outputs((size_t)blocks(out) * pixels * BLOCK);
  double best = 1e9;
  for (int i = 0; i < repeats; i++) {
    double start = seconds();
    Kernels::product(layer.weights, layer.operand, 0, pixels, 0, layer.weights.panels(), layer.target(outputs.data()), Activation::hard_swish);
    best = std::min(best, seconds() - start);
  }
  return best;
}

// Seconds that quantising takes, best of `repeats`.
double quantise_seconds(const float* values, int32_t in, int32_t pixels, int32_t repeats) {
  auto middle = strip_of(values, in, pixels);
  Buffer<char> memory(Kernels::Operand::bytes(in, pixels));
  Kernels::Operand operand(memory.data(), in, pixels);
  double best = 1e9;
  for (int i = 0; i < repeats; i++) {
    double start = seconds();
    Kernels::prepare(middle.data(), (size_t)pixels * BLOCK, nullptr, operand, in, 0, pixels, Activation::hard_swish);
    best = std::min(best, seconds() - start);
  }
  return best;
}

// rows [count][in] -> result [count][out]
void fully_connected(const float* weight, const float* bias, int32_t in, int32_t out, int32_t activation, const float* rows, int32_t count, float* result) {
  auto layer = pack_dense<int8_t>(LinearValues{in, out, weight, bias});
  int wide = up(in, 4 * BLOCK), end = up(out, BLOCK);
  Buffer<float> inputs((size_t)wide * count), outputs((size_t)end * count);
  for (int r = 0; r < count; r++) std::copy_n(rows + (size_t)r * in, in, inputs.data() + (size_t)r * wide);
  NoTeam team;
  dense(team, layer, inputs.data(), wide, outputs.data(), end, count, (Activation)activation);
  for (int r = 0; r < count; r++) std::copy_n(outputs.data() + (size_t)r * end, out, result + (size_t)r * out);
}

// Multiplications and additions a second of vpdpbusd alone.
double peak() {
  constexpr int CHAINS = LANES == BLOCK ? 16 : 12;
  Integers sum[CHAINS] = {}, a = {}, b = {};
  double best = 1e9;
  for (int trial = 0; trial < 30; trial++) {
    double start = seconds();
    for (int loop = 0; loop < 5000; loop++)
      UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = CodeDot::add(sum[i], a, b), keep(sum[i]);
    best = std::min(best, seconds() - start);
  }
  return 5000. * CHAINS * 4 * LANES * 2 / best;
}
}
