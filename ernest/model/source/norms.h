// Root-mean-square norms: y = weight x / sqrt(mean(x^2) + eps), and their gradients.
#pragma once

#include <cmath>

#include "vector.h"

namespace ernest {

INLINE float inverse_rms(const float* x, int64_t width, float eps) {
  Vector squares{};
  int64_t i = 0;
  for (; i + LANES <= width; i += LANES) squares += load(x + i) * load(x + i);
  float total = sum(squares);
  for (; i < width; ++i) total += x[i] * x[i];
  return 1.f / std::sqrt(total / float(width) + eps);
}

// `wide` and `narrow` may be null: the result in float and in bfloat16.
static void normalise(int64_t rows, int64_t width, const float* x, const float* weight, float eps, float* wide, bf16* narrow,
                      float* inverse) {
  for (int64_t row = 0; row < rows; ++row, x += width) {
    const float scale = inverse[row] = inverse_rms(x, width, eps);
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
      const Vector y = load(x + i) * splat(scale) * load(weight + i);
      if (wide) store(wide + row * width + i, y);
      if (narrow) store(narrow + row * width + i, y);
    }
    for (; i < width; ++i) {
      const float y = x[i] * scale * weight[i];
      if (wide) wide[row * width + i] = y;
      if (narrow) store_one(narrow + row * width + i, y);
    }
  }
}

// With h = x / rms and g the gradient of y: dx = (g w - h mean(g w h)) / rms and dw += g h. Of both results, where both were made,
// the gradients are added. `scratch` holds `width` floats.
static void normalise_back(int64_t rows, int64_t width, const float* x, const float* weight, const float* inverse,
                           const float* wide, const bf16* narrow, float* x_grad, float* weight_grad, float* scratch) {
  for (int64_t row = 0; row < rows; ++row) {
    const float *x_row = x + row * width, scale = inverse[row];
    float* out = x_grad + row * width;
    Vector products{};
    float rest = 0;
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
      Vector g = wide ? load(wide + row * width + i) : Vector{};
      if (narrow) g += load(narrow + row * width + i);
      const Vector h = load(x_row + i) * splat(scale), gh = g * h, w = load(weight + i);
      store(weight_grad + i, load(weight_grad + i) + gh);
      products += gh * w;
      store(scratch + i, g * w);
    }
    for (; i < width; ++i) {
      float g = wide ? wide[row * width + i] : 0.f;
      if (narrow) g += load_one(narrow + row * width + i);
      const float h = x_row[i] * scale;
      weight_grad[i] += g * h;
      rest += g * h * weight[i];
      scratch[i] = g * weight[i];
    }
    const float mean = (sum(products) + rest) / float(width);
    for (i = 0; i + LANES <= width; i += LANES)
      store(out + i, (load(scratch + i) - load(x_row + i) * splat(scale * mean)) * splat(scale));
    for (; i < width; ++i) out[i] = (scratch[i] - x_row[i] * scale * mean) * scale;
  }
}

}  // namespace ernest
