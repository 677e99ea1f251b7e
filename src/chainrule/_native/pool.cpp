#include "pool.hpp"

#include <atomic>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace chainrule {
namespace {

std::atomic_flag taken = ATOMIC_FLAG_INIT;
Team* shared = nullptr;  // deleted for a larger one only: at a process's end its threads may be gone before it
Pace pace;

// A forked child has none of the threads, and makes its own.
#if defined(__unix__) || defined(__APPLE__)
const int registered = pthread_atfork(nullptr, nullptr, [] {
  shared = nullptr;
  taken.clear();
});
#endif

}  // namespace

Lease::Lease(std::size_t threads) {
  if (threads < 2 || taken.test_and_set(std::memory_order_acquire)) return;
  if (!shared || shared->size() < threads) {
    delete shared;
    shared = new Team(static_cast<int>(threads), pace);
  }
  team_ = shared;
}

Lease::~Lease() {
  if (team_) taken.clear(std::memory_order_release);
}

}  // namespace chainrule
