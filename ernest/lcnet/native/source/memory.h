// Memory of kernels: aligned, zero at first, and maps of activations with a halo of zeros.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "vector.h"

namespace lcnet {

// `count` zeros on a 64-byte boundary. Kernels may read, never write, up to 4 KiB past the end.
template <class T> class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) {
    constexpr size_t huge = 2 << 20;
    size_t bytes = (count * sizeof(T) + 4096 + 63) / 64 * 64, alignment = bytes >= huge / 2 ? huge : 64;
    bytes = (bytes + alignment - 1) / alignment * alignment;
    void* memory = std::aligned_alloc(alignment, bytes);
    if (!memory) throw std::bad_alloc();
#if defined(__linux__)
    // Weights are read once a run: with pages of 4 KiB the misses of the address cache would cost as much as the reading.
    if (alignment == huge) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    std::memset(memory, 0, bytes);
    data_.reset((T*)memory);
  }
  T* data() const { return data_.get(); }
  T& operator[](size_t i) const { return data_.get()[i]; }
  explicit operator bool() const { return (bool)data_; }

 private:
  struct Free { void operator()(T* memory) const { std::free(memory); } };
  std::unique_ptr<T, Free> data_;
};

// Activations [C/16][halo + H + halo][halo + W + halo][16]. The halo stays zero, so no kernel ever tests for a border.
template <class T> struct Map {
  T* data = nullptr;
  int height = 0, width = 0, halo = 0;
  size_t row = 0, plane = 0;  // in elements

  Map() = default;
  Map(T* data, int height, int width, int halo)
      : data(data), height(height), width(width), halo(halo), row((size_t)(width + 2 * halo) * BLOCK),
          plane(row * (height + 2 * halo)) {}
  static size_t size(int channels, int height, int width, int halo) {
    return (size_t)blocks(channels) * BLOCK * (height + 2 * halo) * (width + 2 * halo);
  }
  // y and x may reach `halo` steps outside of the map.
  T* at(int block, int y, int x) const { return data + block * plane + (size_t)(y + halo) * row + (size_t)(x + halo) * BLOCK; }
};

// Where a product writes: blocks of 16 channels at at(block), pixel i of the strip at place[i] from there, in elements.
// Two distances because operands of bf16 products keep two blocks side by side.
template <class T> struct Target {
  T* data;
  size_t pair, odd;
  const int32_t* place;

  T* at(int block) const { return data + block / 2 * pair + block % 2 * odd; }
};

}  // namespace lcnet
