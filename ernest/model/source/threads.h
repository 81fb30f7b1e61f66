// A team of threads that share the tasks of a kernel; they sleep between kernels.
#pragma once

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace ernest {

class Team {
 public:
  // task(i) for i in [0, tasks), each once, in no particular order, in `threads` threads, this one among them. A kernel that is
  // called while another one has the team runs alone.
  void operator()(int64_t threads, int64_t tasks, const std::function<void(int64_t)>& task) {
    std::unique_lock<std::mutex> mine(busy_, std::defer_lock);
    if (threads <= 1 || tasks <= 1 || !mine.try_lock()) {
      for (int64_t i = 0; i < tasks; ++i) task(i);
      return;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (; helpers_ + 1 < threads; ++helpers_) std::thread(&Team::help, this).detach();
      task_ = &task, tasks_ = tasks, next_ = 0, wanted_ = threads - 1;
    }
    wake_.notify_all();
    work();
    std::unique_lock<std::mutex> lock(mutex_);
    wanted_ = 0;  // one that has not woken up by now is not waited for
    left_.wait(lock, [this] { return working_ == 0; });
  }

 private:
  void work() {
    for (int64_t i; (i = next_.fetch_add(1)) < tasks_;) (*task_)(i);
  }

  void help() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return wanted_ > 0; });
      --wanted_, ++working_;
      lock.unlock();
      work();
      lock.lock();
      if (--working_ == 0) left_.notify_one();
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable wake_, left_;
  const std::function<void(int64_t)>* task_ = nullptr;
  std::atomic<int64_t> next_{0};
  int64_t tasks_ = 0, wanted_ = 0, working_ = 0, helpers_ = 0;
};

// That of the process. It is never destroyed, for its threads may sleep in it until the end; a process that was forked has none
// of them and gets a team of its own.
inline Team& team() {
  static std::mutex making;
  static Team* made = nullptr;
  static pid_t owner = 0;
  const std::lock_guard<std::mutex> lock(making);
  if (owner != getpid()) made = new Team, owner = getpid();
  return *made;
}

}  // namespace ernest
