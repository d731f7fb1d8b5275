// Puts `team.h` under stress, for test_team.py: `right` checks that each piece is done once, and
// `beside` times it and libgomp where others want the cores.

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "team.h"

using Clock = std::chrono::steady_clock;

namespace {

void count_up(const void* task, int64_t from, int64_t to) {
  int* done = *static_cast<int* const*>(task);
  for (int64_t i = from; i < to; i++) done[i]++;
}

long wrong(int rounds, int seed) {
  std::vector<int> done(1000);
  int* first = done.data();
  long found = 0;
  for (int round = seed; round < seed + rounds; round++) {
    int64_t count = 1 + round * 7919 % 1000;
    Team::of_this_process().run(count_up, &first, count, 1 + round % 37);
    for (int64_t i = 0; i < count; i++) found += std::exchange(done[i], 0) != 1;
    if (round % 500 == 0) usleep(2000);  // helpers fall asleep
  }
  return found;
}

void busy(double seconds) {
  auto until = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < until) {}
}

void work(const void*, int64_t from, int64_t to) { busy((to - from) * 20e-6); }

double seconds_of(void (*round)()) {
  auto began = Clock::now();
  for (int i = 0; i < 100; i++) {
    round();
    busy(50e-6);
  }
  return std::chrono::duration<double>(Clock::now() - began).count();
}

void by_team() { Team::of_this_process().run(work, nullptr, 16, 2); }

void by_libgomp() {
#pragma omp parallel
  work(nullptr, 0, 16 / omp_get_num_threads());
}

}  // namespace

int main(int, char** given) {
  if (!std::strcmp(given[1], "right")) {
    long others = 0;
    std::thread other([&] { others = wrong(4000, 1); });
    long mine = wrong(4000, 2);
    other.join();
    std::printf("%ld\n", mine + others);
    return 0;
  }
  std::atomic<bool> over{false};
  auto wanting = [&] { while (!over) {} };
  std::thread one(wanting), another(wanting);
  double team = 0, libgomp = 0;
  for (int i = 0; i < 20; i++) {
    team += seconds_of(by_team);
    libgomp += seconds_of(by_libgomp);
  }
  over = true;
  one.join();
  another.join();
  std::printf("[%f, %f]\n", team, libgomp);
}
