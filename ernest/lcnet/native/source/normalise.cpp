// Batch normalisation with the activation behind it, in training: two passes over a map each way, where PyTorch takes a pass more
// and writes what lies between. Called by ernest/lcnet/native/norms.py.
//
// A map is a matrix [rows, channels]: channels lie innermost, and a row is a place of a picture. It is cut into blocks of rows by
// its shape alone, and what is found in them is put together in their order: any number of threads gives the same bits.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <mutex>
#include <numeric>
#include <vector>

#include "threads.h"

namespace lcnet {

constexpr int64_t BLOCK_FLOATS = 8192;  // of a block: 32 KiB stay in the first cache between the two looks at them

INLINE Vector load(const Brain* from) {
  uint32_t bits[LANES];
  for (int lane = 0; lane < LANES; lane++) bits[lane] = uint32_t(from[lane].bits) << 16;
  Vector value;
  std::memcpy(&value, bits, sizeof value);
  return value;
}
INLINE void put(float* to, Vector value) { store(to, value); }
INLINE void put(Brain* to, Vector value) {
  for (int lane = 0; lane < LANES; lane++) to[lane] = brain(value[lane]);
}

// A register of columns: all lanes, or the first few of them and zeros.
struct Whole {
  template <class T> INLINE_MEMBER Vector take(const T* from) const { return load(from); }
  template <class T> INLINE_MEMBER void give(T* to, Vector value) const { put(to, value); }
};
struct Some {
  int64_t count;
  template <class T> INLINE_MEMBER Vector take(const T* from) const {
    T some[LANES] = {};
    std::memcpy(some, from, count * sizeof(T));
    return load(some);
  }
  template <class T> INLINE_MEMBER void give(T* to, Vector value) const {
    T some[LANES];
    put(some, value);
    std::memcpy(to, some, count * sizeof(T));
  }
};
template <class Task> INLINE void for_columns(int64_t width, Task&& task) {
  int64_t column = 0;
  for (; column + LANES <= width; column += LANES) task(column, Whole{});
  if (column < width) task(column, Some{width - column});
}

// The sums of term(row) over rows [0, height), four at a time: an addition waits for the one before.
template <int COUNT, class Term> INLINE std::array<Vector, COUNT> sums(int64_t height, Term&& term) {
  std::array<Vector, COUNT> total[4] = {};
  const auto add = [&](int part, int64_t row) {
    const std::array<Vector, COUNT> more = term(row);
    UNROLL for (int i = 0; i < COUNT; i++) total[part][i] += more[i];
  };
  int64_t row = 0;
  for (; row + 4 <= height; row += 4) {
    UNROLL for (int part = 0; part < 4; part++) add(part, row + part);
  }
  for (; row < height; row++) add(0, row);
  UNROLL for (int i = 0; i < COUNT; i++) total[0][i] = (total[0][i] + total[1][i]) + (total[2][i] + total[3][i]);
  return total[0];
}

// What is no number stays none: of two values `larger` takes the second where one is none.
template <Activation A> INLINE Vector activate(Vector z) {
  if constexpr (A == Activation::relu) return larger(Vector{}, z);
  if constexpr (A == Activation::hard_swish) return z * hard_sigmoid(z);
  return z;
}
// d activation / dz
template <Activation A> INLINE Vector slope(Vector z) {
  const Vector one = splat(1.f);
  if constexpr (A == Activation::relu) return z > Vector{} ? one : Vector{};
  if constexpr (A == Activation::hard_swish) return z <= splat(-3.f) ? Vector{} : z < splat(3.f) ? z * splat(1.f / 3) + splat(.5f) : one;
  return one;
}

// Few channels leave lanes of a register empty: then several rows are taken as one, whose statistics are put together at the end.
struct Shape {
  int64_t channels, together, rows, width, block;  // `together` rows make one of `width` columns, of which there are `rows`

  Shape(int64_t places, int64_t channels) : channels(channels), together(LANES / std::gcd(channels, int64_t(LANES))) {
    if (places % together) together = 1;
    rows = places / together, width = channels * together;
    block = std::max<int64_t>(1, BLOCK_FLOATS / width);
  }
  int64_t blocks() const { return (rows + block - 1) / block; }
  int64_t padded() const { return (width + LANES - 1) / LANES * LANES; }
  int64_t height(int64_t index) const { return std::min(block, rows - index * block); }
  // A value for each channel as one for each column.
  std::vector<float> columns(const float* values) const {
    std::vector<float> all(padded());
    for (int64_t column = 0; column < width; column++) all[column] = values[column % channels];
    return all;
  }
};

// Threads for as long as the process lives; one that was forked has none of its parent's.
static Team& team(int threads) {
  static std::mutex making;
  static std::map<std::pair<pid_t, int>, Team*> made;
  const std::lock_guard<std::mutex> lock(making);
  Team*& found = made[{getpid(), threads}];
  if (!found) found = new Team(threads);
  return *found;
}
// task(block) for all of them; who finds a team at work does all alone.
static std::mutex busy;
template <class Task> static void for_blocks(int threads, int64_t blocks, Task&& task) {
  std::unique_lock<std::mutex> mine(busy, std::defer_lock);
  if (threads <= 1 || blocks == 1 || blocks >= 1 << 20 || !mine.try_lock()) {
    for (int64_t block = 0; block < blocks; block++) task(block);
    return;
  }
  Team& all = team(threads);
  all.begin();
  all(int(blocks), [&](int block, int) { task(block); });
  all.end();
}

// Mean and sum of squared distances from it, of every column of a block.
template <class T> static void moments(const Shape& shape, const T* x, int64_t height, float* mean, float* squares) {
  for_columns(shape.width, [&](int64_t column, auto lanes) {
    const auto at = [&](int64_t row) { return lanes.take(x + row * shape.width + column); };
    const auto [total] = sums<1>(height, [&](int64_t row) { return std::array{at(row)}; });
    const Vector middle = total * splat(1.f / float(height));
    const auto [spread] = sums<1>(height, [&](int64_t row) {
      const Vector away = at(row) - middle;
      return std::array{away * away};
    });
    store(mean + column, middle);
    store(squares + column, spread);
  });
}

// Sums over blocks of term(block, column), for each channel.
template <class Term> static std::vector<double> totals(const Shape& shape, Term&& term) {
  std::vector<double> columns(shape.width), channels(shape.channels);
  for (int64_t block = 0; block < shape.blocks(); block++)
    for (int64_t column = 0; column < shape.width; column++) columns[column] += term(block, column);
  for (int64_t column = 0; column < shape.width; column++) channels[column % shape.channels] += columns[column];
  return channels;
}

template <class T>
static void statistics(int threads, const Shape& shape, const T* x, float* mean, float* variance) {
  const int64_t padded = shape.padded();
  std::vector<float> found(2 * padded * shape.blocks());
  for_blocks(threads, shape.blocks(), [&](int64_t block) {
    float* own = found.data() + 2 * padded * block;
    moments(shape, x + block * shape.block * shape.width, shape.height(block), own, own + padded);
  });
  // Of blocks of n_b rows with means m_b and sums of squares s_b: sum(s_b + n_b (m_b - mean)^2) is that of all.
  const double places = double(shape.rows) * double(shape.together);
  const auto own = [&](int64_t block) { return found.data() + 2 * padded * block; };
  const std::vector<double> sum = totals(shape, [&](int64_t block, int64_t column) {
    return double(shape.height(block)) * own(block)[column];
  });
  for (int64_t channel = 0; channel < shape.channels; channel++) mean[channel] = float(sum[channel] / places);
  const std::vector<float> means = shape.columns(mean);
  const std::vector<double> squares = totals(shape, [&](int64_t block, int64_t column) {
    const double apart = double(own(block)[column]) - means[column];
    return own(block)[padded + column] + double(shape.height(block)) * apart * apart;
  });
  for (int64_t channel = 0; channel < shape.channels; channel++) variance[channel] = float(squares[channel] / places);
}

// y = activation((x - mean) scale + bias), scale = weight / sqrt(variance + eps)
template <class T, Activation A>
static void forward(int threads, const Shape& shape, const T* x, const float* scale, const float* bias, const float* mean, T* y) {
  const std::vector<float> means = shape.columns(mean), scales = shape.columns(scale), biases = shape.columns(bias);
  for_blocks(threads, shape.blocks(), [&](int64_t block) {
    const int64_t from = block * shape.block;
    for (int64_t row = from; row < from + shape.height(block); row++)
      for_columns(shape.width, [&](int64_t column, auto lanes) {
        const int64_t at = row * shape.width + column;
        const Vector z = (lanes.take(x + at) - load(&means[column])) * load(&scales[column]) + load(&biases[column]);
        lanes.give(y + at, activate<A>(z));
      });
  });
}

// With d = x - mean, z as above and g = y_grad slope(z), of n rows:
//   bias_grad = sum g;  weight_grad = sum g d / deviation;  x_grad = scale (g - sum g / n - d sum(g d) / (n deviation^2))
template <class T, Activation A>
static void backward(int threads, const Shape& shape, const T* x, const T* y_grad, const float* weight, const float* bias,
                     const float* mean, const float* deviation, T* x_grad, float* weight_grad, float* bias_grad) {
  const int64_t padded = shape.padded(), channels = shape.channels;
  std::vector<float> scale(channels);
  for (int64_t channel = 0; channel < channels; channel++) scale[channel] = weight[channel] / deviation[channel];
  const std::vector<float> means = shape.columns(mean), scales = shape.columns(scale.data()), biases = shape.columns(bias);
  std::vector<float> found(2 * padded * shape.blocks());
  for_blocks(threads, shape.blocks(), [&](int64_t block) {
    float* own = found.data() + 2 * padded * block;
    for_columns(shape.width, [&](int64_t column, auto lanes) {
      const Vector middle = load(&means[column]), by = load(&scales[column]), plus = load(&biases[column]);
      const auto [sum, product] = sums<2>(shape.height(block), [&](int64_t row) {
        const int64_t at = (block * shape.block + row) * shape.width + column;
        const Vector d = lanes.take(x + at) - middle, g = lanes.take(y_grad + at) * slope<A>(d * by + plus);
        return std::array{g, g * d};
      });
      store(own + column, sum);
      store(own + padded + column, product);
    });
  });
  std::vector<float> mean_grad(channels), pull(channels);
  const double places = double(shape.rows) * double(shape.together);
  const auto own = [&](int64_t block) { return found.data() + 2 * padded * block; };
  const std::vector<double> sum = totals(shape, [&](int64_t block, int64_t column) { return own(block)[column]; });
  const std::vector<double> product = totals(shape, [&](int64_t block, int64_t column) { return own(block)[padded + column]; });
  for (int64_t channel = 0; channel < channels; channel++) {
    bias_grad[channel] = float(sum[channel]), weight_grad[channel] = float(product[channel] / deviation[channel]);
    mean_grad[channel] = float(sum[channel] / places);
    pull[channel] = float(product[channel] / places / (double(deviation[channel]) * deviation[channel]));
  }
  const std::vector<float> mean_grads = shape.columns(mean_grad.data()), pulls = shape.columns(pull.data());
  for_blocks(threads, shape.blocks(), [&](int64_t block) {
    const int64_t from = block * shape.block;
    for (int64_t row = from; row < from + shape.height(block); row++)
      for_columns(shape.width, [&](int64_t column, auto lanes) {
        const int64_t at = row * shape.width + column;
        const Vector d = lanes.take(x + at) - load(&means[column]), by = load(&scales[column]);
        const Vector g = lanes.take(y_grad + at) * slope<A>(d * by + load(&biases[column]));
        lanes.give(x_grad + at, by * (g - load(&mean_grads[column]) - d * load(&pulls[column])));
      });
  });
}

template <class T>
static void normalise(int threads, const Shape& shape, Activation activation, const T* x, const float* weight, const float* bias,
                      float eps, T* y, float* mean, float* variance, float* deviation) {
  statistics(threads, shape, x, mean, variance);
  std::vector<float> scale(shape.channels);
  for (int64_t channel = 0; channel < shape.channels; channel++) {
    deviation[channel] = std::sqrt(variance[channel] + eps);
    scale[channel] = weight[channel] / deviation[channel];
  }
  choose_any(activation, [&](auto choice) { forward<T, choice.value>(threads, shape, x, scale.data(), bias, mean, y); });
}

}  // namespace lcnet

using namespace lcnet;

#define EXPORT extern "C" __attribute__((visibility("default")))

// Maps in float, or in bfloat16 where `narrow`; a value for each channel in float. `variance` is that of the rows, without Bessel's
// correction, and `deviation` the root of it and eps.
EXPORT void normalise(int64_t threads, int64_t narrow, int64_t rows, int64_t channels, int64_t activation, const void* x,
                      const float* weight, const float* bias, float eps, void* y, float* mean, float* variance, float* deviation) {
  const Shape shape(rows, channels);
  const auto run = [&](auto* in, auto* out) {
    normalise(int(threads), shape, Activation(activation), in, weight, bias, eps, out, mean, variance, deviation);
  };
  if (narrow) run((const Brain*)x, (Brain*)y);
  else run((const float*)x, (float*)y);
}

EXPORT void normalise_back(int64_t threads, int64_t narrow, int64_t rows, int64_t channels, int64_t activation, const void* x,
                           const void* y_grad, const float* weight, const float* bias, const float* mean, const float* deviation,
                           void* x_grad, float* weight_grad, float* bias_grad) {
  const Shape shape(rows, channels);
  choose_any(Activation(activation), [&](auto choice) {
    const auto run = [&](auto* in, auto* grad, auto* out) {
      backward<std::remove_cv_t<std::remove_reference_t<decltype(*out)>>, choice.value>(int(threads), shape, in, grad, weight, bias,
          mean, deviation, out, weight_grad, bias_grad);
    };
    if (narrow) run((const Brain*)x, (const Brain*)y_grad, (Brain*)x_grad);
    else run((const float*)x, (const float*)y_grad, (float*)x_grad);
  });
}
