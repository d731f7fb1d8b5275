// Threads that share work where they are free.
//
// All of libgomp's threads have to come to every operation. Where another program has the core of one
// of them, for the time of a token's way to its reader say, the rest wait for that program. Here the
// thread that has work takes piece after piece itself, helpers take some where there is a core for
// them, and nobody waits for a helper that is not at work.

#pragma once

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>

#include <omp.h>

class Team {
 public:
  using Work = void (*)(const void* task, int64_t from, int64_t to);

  static Team& of_this_process() {
    static Team* team = new Team;  // never deleted: its helpers are at it until the process ends
    return *team;
  }

  int threads() const { return threads_; }

  // Work on 0 … count, `piece` at a time; returns when all is done.
  void run(Work work, const void* task, int64_t count, int64_t piece) {
    int64_t pieces = (count + piece - 1) / piece;
    if (pieces < 2 || pieces > MOST || threads_ < 2 || busy_.test_and_set(std::memory_order_acquire)) {
      work(task, 0, count);
      return;
    }
    if (!helpers_) engage();
    work_ = work, task_ = task, count_ = count, piece_ = piece;
    done_.store(0, std::memory_order_relaxed);
    plan_.store(++number_ << 32 | pieces << 16, std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_seq_cst)) {
      calls_.fetch_add(1);
      calls_.notify_all();
    }
    while (take()) {}
    for (int waited = 0; done_.load(std::memory_order_acquire) < pieces;) pause(waited);
    busy_.clear(std::memory_order_release);
  }

 private:
  static constexpr int64_t MOST = 0xffff;
  static constexpr int PATIENCE = 500;            // pauses, between which others may have the core
  static constexpr uint64_t AWAKE = 1'000'000;    // cycles, half a millisecond or less

  Team() : threads_(std::min(omp_get_max_threads(), omp_get_num_procs())) {
    pthread_atfork(nullptr, nullptr, [] {  // a fork has none of its parent's threads
      of_this_process().helpers_ = false;
      of_this_process().asleep_ = 0;
    });
  }

  static void pause(int& waited) {
    if (++waited % PATIENCE)
      _mm_pause();
    else
      sched_yield();
  }

  // One piece of what there is to do, if any is left. A plan is its number, how many pieces it has, and
  // the next one; who has taken a piece keeps the plan from ending.
  bool take() {
    uint64_t plan = plan_.load(std::memory_order_seq_cst);
    do {
      if ((plan & MOST) >= (plan >> 16 & MOST)) return false;
    } while (!plan_.compare_exchange_weak(plan, plan + 1, std::memory_order_acq_rel));
    int64_t from = (plan & MOST) * piece_;
    work_(task_, from, std::min(from + piece_, count_));
    done_.fetch_add(1, std::memory_order_release);
    return true;
  }

  void engage() {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the others
    for (int n = 1; n < threads_; n++) std::thread([this] { help(); }).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    helpers_ = true;
  }

  [[noreturn]] void help() {
    for (;;) {
      int waited = 0;
      for (uint64_t since = __rdtsc(); __rdtsc() - since < AWAKE;)
        if (take())
          since = __rdtsc();
        else
          pause(waited);
      uint32_t calls = calls_.load();
      asleep_.fetch_add(1, std::memory_order_seq_cst);
      if (!take()) calls_.wait(calls);
      asleep_.fetch_sub(1);
    }
  }

  const int threads_;
  bool helpers_ = false;
  std::atomic_flag busy_;
  Work work_;
  const void* task_;
  int64_t count_, piece_;
  uint64_t number_ = 0;
  alignas(64) std::atomic<uint64_t> plan_{0};
  alignas(64) std::atomic<int64_t> done_{0};
  alignas(64) std::atomic<int32_t> asleep_{0};
  std::atomic<uint32_t> calls_{0};
};
