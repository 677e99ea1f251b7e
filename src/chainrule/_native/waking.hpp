// On which core a sleeping thread wakes.
//
// Where cores share no cache, or are virtual ones that have gone to sleep, Linux likes to wake a thread on its waker's own
// core. Both then share that core until the next balancing, milliseconds later, while another lies idle. So who wakes
// threads first bars them from its core; once awake, they lift the bar.
#pragma once
#include <atomic>
#include <thread>

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

namespace chainrule {

#ifdef __linux__
class Sleeper {
 public:
  // By the sleeper itself.
  void falls_asleep() { asleep_.store(true, std::memory_order_release); }
  void awakes() {
    asleep_.store(false, std::memory_order_relaxed);
    if (!barred_.load(std::memory_order_acquire)) return;
    sched_setaffinity(0, sizeof allowed_, &allowed_);
    barred_.store(false, std::memory_order_release);
  }
  // By the waker, before it wakes this one.
  void keep_off(int core, pthread_t thread) {
    if (!asleep_.load(std::memory_order_acquire) || barred_.load(std::memory_order_acquire)) return;
    if (pthread_getaffinity_np(thread, sizeof allowed_, &allowed_) != 0) return;
    cpu_set_t others = allowed_;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) == 0) return;
    barred_.store(true, std::memory_order_release);
    if (pthread_setaffinity_np(thread, sizeof others, &others) != 0) barred_.store(false, std::memory_order_release);
  }
  static int this_core() { return sched_getcpu(); }

 private:
  std::atomic<bool> asleep_{false}, barred_{false};
  cpu_set_t allowed_;
};
#else
struct Sleeper {
  void falls_asleep() {}
  void awakes() {}
  void keep_off(int, std::thread::native_handle_type) {}
  static int this_core() { return -1; }
};
#endif

}  // namespace chainrule
