// Memory of kernels: aligned, zero at first, and maps of activations with a halo of zeros.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "vector.h"

namespace lcnet {

// Pages of 2 MiB, cut into pieces that live as long as it does. With pages of 4 KiB the misses of the address cache cost some
// hundredths of a run.
class Arena {
 public:
  void* take(size_t bytes) {
    if (bytes > left_) {
      size_t size = (bytes + PAGE - 1) / PAGE * PAGE;
      void* memory = std::aligned_alloc(PAGE, size);
      if (!memory) throw std::bad_alloc();
      pages_.emplace_back(memory);
#if defined(__linux__)
      madvise(memory, size, MADV_HUGEPAGE);
#endif
      std::memset(memory, 0, size);
      next_ = (char*)memory, left_ = size;
    }
    void* piece = next_;
    next_ += bytes, left_ -= bytes;
    return piece;
  }

  // Inside of its scope buffers are pieces of the arena.
  class Scope {
   public:
    explicit Scope(Arena& arena) : before_(current) { current = &arena; }
    ~Scope() { current = before_; }

   private:
    Arena* before_;
  };
  static inline thread_local Arena* current = nullptr;

 private:
  static constexpr size_t PAGE = 2 << 20;
  struct Free { void operator()(void* memory) const { std::free(memory); } };
  std::vector<std::unique_ptr<void, Free>> pages_;
  char* next_ = nullptr;
  size_t left_ = 0;
};

// `count` zeros on a 64-byte boundary. Kernels may read, never write, up to 4 KiB past the end.
template <class T> class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) {
    size_t bytes = (count * sizeof(T) + 4096 + 63) / 64 * 64;
#if !defined(__SANITIZE_ADDRESS__)  // which sees no borders inside a page
    if (Arena::current) {
      data_ = Pointer((T*)Arena::current->take(bytes), Free{false});
      return;
    }
#endif
    void* memory = std::aligned_alloc(64, bytes);
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0, bytes);
    data_.reset((T*)memory);
  }
  T* data() const { return data_.get(); }
  T& operator[](size_t i) const { return data_.get()[i]; }
  explicit operator bool() const { return (bool)data_; }

 private:
  struct Free {
    bool owned = true;
    void operator()(T* memory) const { if (owned) std::free(memory); }
  };
  using Pointer = std::unique_ptr<T, Free>;
  Pointer data_;
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
