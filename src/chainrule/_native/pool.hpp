// The threads that all calls share, made by the first that wants them; they sleep between calls.
#pragma once
#include <cstddef>

#include "team.hpp"

namespace chainrule {

// The shared threads for as long as it lives, or none: a call that finds them at work for another works alone, since the
// cores are busy.
class Lease {
 public:
  explicit Lease(std::size_t threads);
  ~Lease();
  Lease(const Lease&) = delete;
  Team* team() const { return team_; }

 private:
  Team* team_ = nullptr;
};

// f(i, thread) for each i < count, by at most so many threads.
template <class F>
void share(std::size_t count, std::size_t threads, F f) {
  const Lease lease(count > 1 ? threads : 1);
  if (lease.team()) return lease.team()->run(count, f, threads);
  for (std::size_t i = 0; i < count; ++i) f(i, std::size_t{0});
}

}  // namespace chainrule
