// Rings after rte_ring's scheme: the MPMC one as weir's mpmc-ring.ts, the SPSC one with each side's copy of the other's
// index as weir's spsc-ring.ts.
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

struct ring* ringCreate(uint32_t capacity) {
  struct ring* const r = aligned_alloc(64, (sizeof *r + 63) / 64 * 64);
  if (r == NULL) return NULL;
  memset(r, 0, sizeof *r);
  r->mask = capacity - 1;
  r->entries = aligned_alloc(64, (size_t)capacity * 4);
  if (r->entries == NULL) return NULL;
  memset(r->entries, 0, (size_t)capacity * 4);
  return r;
}

static inline void copyIn(struct ring* r, uint32_t at, const uint32_t* handles, uint32_t n) {
  const uint32_t mask = r->mask;
  uint32_t* const entries = r->entries;
  const uint32_t first = at & mask;
  if (first + n <= mask + 1) {
    for (uint32_t i = 0; i < n; i++) entries[first + i] = handles[i];
  } else {
    for (uint32_t i = 0; i < n; i++) entries[(at + i) & mask] = handles[i];
  }
}

static inline void copyOut(const struct ring* r, uint32_t at, uint32_t* handles, uint32_t n) {
  const uint32_t mask = r->mask;
  const uint32_t* const entries = r->entries;
  const uint32_t first = at & mask;
  if (first + n <= mask + 1) {
    for (uint32_t i = 0; i < n; i++) handles[i] = entries[first + i];
  } else {
    for (uint32_t i = 0; i < n; i++) handles[i] = entries[(at + i) & mask];
  }
}

__attribute__((noinline)) uint32_t mpmcEnqueue(struct ring* r, const uint32_t* handles, uint32_t n) {
  uint32_t head = atomic_load_explicit(&r->producerHead, memory_order_acquire);
  uint32_t moved;
  do {
    const uint32_t room = r->mask + 1 + atomic_load_explicit(&r->consumerTail, memory_order_acquire) - head;
    moved = n < room ? n : room;
    if (moved == 0) return 0;
  } while (!atomic_compare_exchange_weak_explicit(&r->producerHead, &head, head + moved, memory_order_acquire,
                                                  memory_order_acquire));
  copyIn(r, head, handles, moved);
  while (atomic_load_explicit(&r->producerTail, memory_order_relaxed) != head) _mm_pause();
  atomic_store_explicit(&r->producerTail, head + moved, memory_order_release);
  return moved;
}

__attribute__((noinline)) uint32_t mpmcDequeue(struct ring* r, uint32_t* handles, uint32_t n) {
  uint32_t head = atomic_load_explicit(&r->consumerHead, memory_order_acquire);
  uint32_t moved;
  do {
    const uint32_t ready = atomic_load_explicit(&r->producerTail, memory_order_acquire) - head;
    moved = n < ready ? n : ready;
    if (moved == 0) return 0;
  } while (!atomic_compare_exchange_weak_explicit(&r->consumerHead, &head, head + moved, memory_order_acquire,
                                                  memory_order_acquire));
  copyOut(r, head, handles, moved);
  while (atomic_load_explicit(&r->consumerTail, memory_order_relaxed) != head) _mm_pause();
  atomic_store_explicit(&r->consumerTail, head + moved, memory_order_release);
  return moved;
}

__attribute__((noinline)) uint32_t spscEnqueue(struct ring* r, const uint32_t* handles, uint32_t n) {
  const uint32_t head = atomic_load_explicit(&r->producerTail, memory_order_relaxed);
  uint32_t room = r->mask + 1 + r->seenTail - head;
  if (room < n) {
    r->seenTail = atomic_load_explicit(&r->consumerTail, memory_order_acquire);
    room = r->mask + 1 + r->seenTail - head;
    if (n > room) n = room;
  }
  copyIn(r, head, handles, n);
  atomic_store_explicit(&r->producerTail, head + n, memory_order_release);
  return n;
}

__attribute__((noinline)) uint32_t spscDequeue(struct ring* r, uint32_t* handles, uint32_t n) {
  const uint32_t tail = atomic_load_explicit(&r->consumerTail, memory_order_relaxed);
  uint32_t ready = r->seenHead - tail;
  if (ready < n) {
    r->seenHead = atomic_load_explicit(&r->producerTail, memory_order_acquire);
    ready = r->seenHead - tail;
    if (n > ready) n = ready;
    if (n == 0) return 0;
  }
  copyOut(r, tail, handles, n);
  atomic_store_explicit(&r->consumerTail, tail + n, memory_order_release);
  return n;
}

void loopMpmc(uint32_t times, uint32_t bulk) {
  static struct ring* r;
  if (r == NULL) r = ringCreate(1024);
  uint32_t handles[BURST] = {0};
  for (uint32_t t = 0; t < times; t++) {
    mpmcEnqueue(r, handles, bulk);
    mpmcDequeue(r, handles, bulk);
  }
}

void loopSpsc(uint32_t times) {
  static struct ring* r;
  if (r == NULL) r = ringCreate(1024);
  uint32_t handles[BURST] = {0};
  for (uint32_t t = 0; t < times; t++) {
    spscEnqueue(r, handles, BURST);
    spscDequeue(r, handles, BURST);
  }
}

struct producer {
  struct ring* ring;
  int cpu;
  atomic_bool stop;
  atomic_bool running;
  clockid_t clock;
};

static void* produce(void* argument) {
  struct producer* const p = argument;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(p->cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  pthread_getcpuclockid(pthread_self(), &p->clock);
  atomic_store(&p->running, true);
  uint32_t handles[BURST];
  for (uint32_t i = 0; i < BURST; i++) handles[i] = i + 1;
  uint32_t sent = 0;
  while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
    sent += spscEnqueue(p->ring, handles + (sent & (BURST - 1)), BURST - (sent & (BURST - 1)));
  }
  return NULL;
}

static void drain(struct ring* r, uint32_t packets) {
  uint32_t handles[BURST];
  for (uint32_t got = 0; got < packets;) got += spscDequeue(r, handles, BURST);
}

static uint64_t cpuNsOf(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t acrossThreads(uint32_t packets, int producerCpu, uint64_t* cpuNs) {
  static struct ring* r;
  if (r == NULL) r = ringCreate(1024);
  struct producer p = {.ring = r, .cpu = producerCpu};
  pthread_t thread;
  if (r == NULL || pthread_create(&thread, NULL, produce, &p) != 0) return 0;
  while (!atomic_load(&p.running)) _mm_pause();
  drain(r, 8192);
  const uint64_t own = ownCpuNs();
  const uint64_t peer = cpuNsOf(p.clock);
  const uint64_t start = tscNow();
  drain(r, packets);
  const uint64_t cycles = tscNow() - start;
  const uint64_t peerNs = cpuNsOf(p.clock) - peer;
  const uint64_t ownNs = ownCpuNs() - own;
  *cpuNs = peerNs < ownNs ? peerNs : ownNs;
  atomic_store(&p.stop, true);
  pthread_join(thread, NULL);
  uint32_t handles[BURST];
  while (spscDequeue(r, handles, BURST) > 0) {
  }
  return cycles;
}
