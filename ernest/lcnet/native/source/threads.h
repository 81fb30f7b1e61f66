// A team of threads that takes tasks from one counter.
//
// A phase is over when its tasks are done, not when every thread has come by: on a busy machine a thread that the system
// has put aside costs nothing unless it holds a task. Helpers sleep between runs.
#pragma once

#include <atomic>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include "vector.h"

namespace lcnet {

INLINE void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

class Team {
 public:
  explicit Team(int threads) {
    try {
      for (int thread = 1; thread < threads; thread++) helpers_.emplace_back([this, thread] { help(thread); });
    } catch (const std::system_error&) {  // a container may limit them: those that have begun do
    }
  }
  ~Team() {
    stop_ = true;
    awake_ += 2;
    awake_.notify_all();
    for (auto& helper : helpers_) helper.join();
  }
  int threads() const { return (int)helpers_.size() + 1; }

  // Between begin and end the helpers look for tasks. One run at a time.
  void begin() {
    if (helpers_.empty()) return;
    awake_.fetch_add(1);
    awake_.notify_all();
  }
  void end() {
    if (!helpers_.empty()) awake_.fetch_add(1);
  }

  // task(i, thread) for i in [0, tasks), each once, in no particular order; returns when all are done.
  template <class Task> void operator()(int tasks, Task&& task) {
    if (helpers_.empty() || tasks == 1) {
      for (int i = 0; i < tasks; i++) task(i, 0);
      return;
    }
    Job& job = jobs_[++phase_ % JOBS];
    job.call = [](void* context, int i, int thread) { (*(std::remove_reference_t<Task>*)context)(i, thread); };
    job.context = (void*)&task;
    job.done.store(0, std::memory_order_relaxed);
    next_.store((uint64_t)(phase_ & 0xffffff) << 40 | (uint64_t)tasks << 20, std::memory_order_release);
    uint64_t phase;
    while (take(0, phase)) {}
    while (job.done.load(std::memory_order_acquire) < tasks) pause();
  }

 private:
  static constexpr int JOBS = 64;
  struct Job {
    void (*call)(void*, int, int);
    void* context;
    std::atomic<int> done;
  };

  bool take(int thread, uint64_t& phase) {
    // All that decides is in one word: 24 bits of the phase, 20 of the number of tasks, 20 of the next task. A thread that
    // comes late sees that no task is left and never looks at a job, which may belong to a later phase by then.
    uint64_t word = next_.fetch_add(1, std::memory_order_acq_rel);
    int i = word & 0xfffff, tasks = word >> 20 & 0xfffff;
    phase = word >> 40;
    if (i >= tasks) return false;
    Job& job = jobs_[phase % JOBS];
    job.call(job.context, i, thread);
    job.done.fetch_add(1, std::memory_order_release);
    return true;
  }

  void help(int thread) {
    while (!stop_) {
      uint32_t awake = awake_.load(std::memory_order_acquire);
      if (awake % 2 == 0) {  // no run under way
        rest(awake);
        continue;
      }
      uint64_t phase;
      while (take(thread, phase)) {}
      for (int k = 0; next_.load(std::memory_order_relaxed) >> 40 == phase && awake_.load(std::memory_order_relaxed) == awake;
          k++) {
        pause();
        if (k > 2000) std::this_thread::yield();
      }
    }
  }
  // Some microseconds of looking before the sleep: the next image often comes at once, and waking up costs more than that.
  void rest(uint32_t awake) {
    for (int k = 0; k < 500; k++) {
      if (awake_.load(std::memory_order_acquire) != awake) return;
      pause();
    }
    awake_.wait(awake);
  }

  Job jobs_[JOBS];
  alignas(64) std::atomic<uint64_t> next_{0};
  alignas(64) std::atomic<uint32_t> awake_{0};  // odd while a run is under way
  std::atomic<bool> stop_{false};
  uint32_t phase_ = 0;
  std::vector<std::thread> helpers_;
};

}  // namespace lcnet
