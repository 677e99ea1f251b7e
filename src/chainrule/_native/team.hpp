// A few threads that work through many short rounds together, on cores that may not be theirs alone.
//
// Nobody is waited for who has not begun: whoever is there takes what is left of a round, so that a thread which wakes
// late, or whose core another process has taken, costs its help and no more. Only an item that was begun is waited for,
// and not for long by spinning: a core that sleeps is one onto which the system can move the thread that lost its own.
// Where that happened, the rounds of the next while are done alone.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include "waking.hpp"

namespace chainrule {

// Until when to work alone; kept from one team to the next.
struct Pace {
  std::chrono::steady_clock::time_point alone_until{};
};

// Is a short step quicker by all threads, or by one? That depends on the processor, and on who else uses its cores: some
// steps are timed each way, and again after a while.
class Trial {
 public:
  // Is the next step one thread's?
  bool alone() const { return step_ < tried || (step_ >= last && alone_); }
  void took(std::chrono::steady_clock::duration time) {
    if (step_ < tried) times_[0][step_] = time;
    else if (step_ >= last - tried && step_ < last) times_[1][step_ - (last - tried)] = time;
    if (++step_ == last) alone_ = median(times_[0]) < median(times_[1]);
    if (step_ == last + kept) step_ = 0;
  }

 private:
  static constexpr unsigned tried = 8, last = tried + 2 + tried, kept = 4000;  // two steps wake the threads
  using Times = std::array<std::chrono::steady_clock::duration, tried>;
  static std::chrono::steady_clock::duration median(Times& times) {
    std::nth_element(times.begin(), times.begin() + tried / 2, times.end());
    return times[tried / 2];
  }

  unsigned step_ = 0;
  bool alone_ = false;
  Times times_[2];
};

class Team {
  using Clock = std::chrono::steady_clock;

 public:
  Team(int threads, Pace& pace) : pace_(pace), size_(static_cast<std::size_t>(std::max(threads, 1))) {
    if (size_ == 1) return;
    ranges_ = std::make_unique<Range[]>(size_);
    sleepers_ = std::make_unique<Sleeper[]>(size_ - 1);
    try {
      for (std::size_t t = 1; t < size_; ++t) threads_.emplace_back([this, t] { serve(t); });
    } catch (const std::system_error&) {  // no more threads to be had: those that are here do the work
    }
  }
  Team(const Team&) = delete;
  ~Team() {
    over_.store(true, std::memory_order_relaxed);
    turn_.fetch_add(1, std::memory_order_release);
    turn_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // How many threads were asked for.
  std::size_t size() const { return size_; }

  // f(i), or f(i, thread), for each i < count, by at most `limit` threads. A thread begins with its own share, which the
  // next round gives it again.
  template <class F>
  void run(std::size_t count, F f, std::size_t limit = ~std::size_t{0}) {
    const auto call = [](void* context, std::size_t i, std::size_t thread) {
      if constexpr (std::is_invocable_v<F, std::size_t, std::size_t>) (*static_cast<F*>(context))(i, thread);
      else (*static_cast<F*>(context))(i), (void)thread;
    };
    const std::size_t active = std::min({limit, threads_.size() + 1, count});
    if (threads_.empty() || active < 2 || alone()) {
      for (std::size_t i = 0; i < count; ++i) call(&f, i, 0);
      return;
    }
    const auto start = Clock::now();
    call_ = call, context_ = &f;
    active_.store(active, std::memory_order_relaxed);
    pending_.store(static_cast<int>(count), std::memory_order_relaxed);
    for (std::size_t t = 0; t < active; ++t) {
      ranges_[t].end = count * (t + 1) / active;
      ranges_[t].left.store(static_cast<int>(ranges_[t].end - count * t / active), std::memory_order_release);
    }
    if (const int core = Sleeper::this_core(); core >= 0)
      for (std::size_t t = 1; t < active; ++t) sleepers_[t - 1].keep_off(core, threads_[t - 1].native_handle());
    turn_.fetch_add(1, std::memory_order_release);
    turn_.notify_all();
    work(0);
    wait(Clock::now() - start);
  }

 private:
  // Items end - left … end - 1 are not taken yet. Who takes one after a round's end finds left <= 0, or has one of the
  // next round, whose end and function were written before its left.
  struct alignas(64) Range {
    std::atomic<int> left{0};
    std::size_t end = 0;
  };
  static constexpr std::chrono::microseconds spin{50}, long_wait{300};

  bool alone() const { return pace_.alone_until > Clock::time_point{} && Clock::now() < pace_.alone_until; }

  void work(std::size_t thread) {
    const std::size_t active = active_.load(std::memory_order_relaxed);
    for (std::size_t t = 0; thread < active && t < active; ++t) {
      Range& range = ranges_[(thread + t) % active];
      for (int left; (left = range.left.fetch_sub(1, std::memory_order_acq_rel)) > 0;) {
        call_(context_, range.end - static_cast<std::size_t>(left), thread);
        if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_all();
      }
    }
  }

  // Spins for a while until done() is true; says whether it is.
  template <class F>
  static bool spun(F done) {
    const auto start = Clock::now();
    do {
      for (int i = 0; i < 64; ++i) {
        if (done()) return true;
#if defined(__x86_64__) && defined(__GNUC__)
        __builtin_ia32_pause();
#endif
      }
    } while (Clock::now() - start < spin);
    return false;
  }

  void wait(Clock::duration own) {
    int left = 0;
    const auto done = [&] { return (left = pending_.load(std::memory_order_acquire)) == 0; };
    if (spun(done)) return;
    const auto start = Clock::now();
    while (!done()) pending_.wait(left, std::memory_order_acquire);
    const auto end = Clock::now();
    if (end - start > std::max<Clock::duration>(long_wait, own)) pace_.alone_until = end + 8 * (end - start);
  }

  void serve(std::size_t thread) {
    unsigned seen = 0;
    for (;;) {
      const auto next = [&] { return turn_.load(std::memory_order_acquire) != seen; };
      if (!spun(next)) {
        sleepers_[thread - 1].falls_asleep();
        turn_.wait(seen, std::memory_order_acquire);
        sleepers_[thread - 1].awakes();
      }
      seen = turn_.load(std::memory_order_acquire);
      if (over_.load(std::memory_order_relaxed)) return;
      work(thread);
    }
  }

  Pace& pace_;
  const std::size_t size_;
  void (*call_)(void*, std::size_t, std::size_t) = nullptr;
  void* context_ = nullptr;
  std::unique_ptr<Range[]> ranges_;
  std::unique_ptr<Sleeper[]> sleepers_;
  std::atomic<std::size_t> active_{0};
  alignas(64) std::atomic<unsigned> turn_{0};
  std::atomic<bool> over_{false};
  alignas(64) std::atomic<int> pending_{0};
  std::vector<std::thread> threads_;
};

}  // namespace chainrule
