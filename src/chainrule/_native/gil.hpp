// Python's lock (GIL), let go of while a kernel runs.
//
// A process may end while a daemon thread is in a kernel. CPython up to 3.13 ends such a thread as soon as it asks for the
// lock, by unwinding it, which no destructor allows: the process would be aborted. So nobody asks any more once Python has
// begun to end: the thread sleeps until the process is gone, and the end waits for those that had asked before.
#pragma once
#include <nanobind/nanobind.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace chainrule {

class Ending {
 public:
  static Ending& it() {
    static Ending& only = *new Ending;  // never destroyed: threads sleep in it to the last
    return only;
  }
  // Takes the lock for a thread that has let go of it, by `take`; does not return where Python is ending.
  template <class Take>
  void take(Take take) {
    {
      std::unique_lock guard(mutex_);
      if (ending_ && std::this_thread::get_id() != last_) changed_.wait(guard, [] { return false; });
      ++asking_;
    }
    take();
    const std::lock_guard guard(mutex_);
    --asking_;
    changed_.notify_all();
  }
  // By the thread that ends Python, at its exit, without the lock.
  void begin() {
    std::unique_lock guard(mutex_);
    ending_ = true, last_ = std::this_thread::get_id();
    changed_.wait(guard, [this] { return asking_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  int asking_ = 0;
  std::thread::id last_;
};

// As long as it lives the lock is free.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() {
    Ending::it().take([this] { PyEval_RestoreThread(state_); });
  }
  Unlocked(const Unlocked&) = delete;

 private:
  friend class Relocked;
  PyThreadState* state_;
};

// Within that, as long as it lives the lock is held again, by the same thread.
class Relocked {
 public:
  explicit Relocked(Unlocked& unlocked) : unlocked_(unlocked) {
    Ending::it().take([this] { PyEval_RestoreThread(unlocked_.state_); });
  }
  ~Relocked() { unlocked_.state_ = PyEval_SaveThread(); }
  Relocked(const Relocked&) = delete;

 private:
  Unlocked& unlocked_;
};

}  // namespace chainrule
