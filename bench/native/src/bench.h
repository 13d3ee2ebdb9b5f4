// The same work as weir's data path, in C: what a bench row is held against. Never part of weir itself.
//
// The layout is weir's own, so that a ratio compares the code and not the layout: slots of 2,240 bytes, a table of
// columns indexed by handle, a ledger word per handle, a counter per holder, a stack of free handles per thread.
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

#define STRIDE 2240u
#define HEADROOM 128u
#define SLOTS 8192u  // as a session with up to four queues
#define BURST 32u
#define CACHE_SIZE 256u
#define FRAME_BYTES 64u
#define PRIMED_FRAMES 256u  // in the rings of the ring loop, both together

#define HOLDER_SHIFT 20
#define HOLDER_MASK 0xfff00000u
#define KIND (1u << 8)  // pool 1, no shape
#define CHAINED 1u

enum { HOLDER_FREE, HOLDER_CACHE, HOLDER_LCORE, HOLDER_TXQ0, HOLDER_TXQ1, HOLDER_RXQ0, HOLDER_RXQ1, HOLDERS };

struct ring {
  alignas(64) _Atomic uint32_t producerHead;
  alignas(64) _Atomic uint32_t producerTail;
  alignas(64) _Atomic uint32_t consumerHead;
  alignas(64) _Atomic uint32_t consumerTail;
  alignas(64) uint32_t seenTail;  // the producer's copy of consumerTail, SPSC only
  alignas(64) uint32_t seenHead;  // the consumer's copy of producerTail, SPSC only
  alignas(64) uint32_t mask;
  uint32_t* entries;
};

struct memory {
  uint8_t* bytes;
  uint32_t* position;
  uint16_t* dataLength;
  uint32_t* packetLength;
  uint16_t* kind;
  uint16_t* port;
  uint32_t* ledger;
  _Atomic uint32_t clock;  // ctl's, so every burst must load it
  int32_t row[HOLDERS];
  uint32_t depth;
  uint32_t stack[2 * CACHE_SIZE + 128];
  struct ring* common;
};

// Made once per process, with every buffer in the common ring. NULL when there is no memory.
struct memory* memoryOf(void);

uint32_t poolGet(struct memory* m, uint32_t* handles, uint32_t n, uint32_t holder);
void poolPut(struct memory* m, const uint32_t* handles, uint32_t n, uint32_t holder);

struct ring* ringCreate(uint32_t capacity);
uint32_t mpmcEnqueue(struct ring* r, const uint32_t* handles, uint32_t n);
uint32_t mpmcDequeue(struct ring* r, uint32_t* handles, uint32_t n);
uint32_t spscEnqueue(struct ring* r, const uint32_t* handles, uint32_t n);
uint32_t spscDequeue(struct ring* r, uint32_t* handles, uint32_t n);

// CPU time of the calling thread, ns.
static inline uint64_t ownCpuNs(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t tscNow(void) {
  _mm_lfence();
  return __rdtsc();
}

// The first 12 bytes of a frame.
struct macs {
  uint32_t w0, w1, w2;
};

static const struct macs kMacs = {0x00000002, 0x00020000, 0x01000000};

static inline void writeMacs(struct memory* m, const uint32_t* handles, uint32_t n, struct macs macs) {
  for (uint32_t i = 0; i < n; i++) {
    uint32_t* const at = (uint32_t*)(m->bytes + m->position[handles[i]]);
    at[0] = macs.w0;
    at[1] = macs.w1;
    at[2] = macs.w2;
  }
}

// The loops that rows call, each `times` bursts.
void loopPool(uint32_t times);
void loopMpmc(uint32_t times, uint32_t bulk);
void loopSpsc(uint32_t times);
void loopLedger(uint32_t times);
void loopSwapMacs(uint32_t times);
void loopWriteMacs(uint32_t times);
void loopNull(uint32_t times);
void loopRing(uint32_t times);

// Two threads and one SPSC ring: cycles that `packets` took at the consumer (the caller), and the smaller of the two
// threads' CPU times in that while, in ns. The producer runs on `producerCpu`. 0 when it could not be started.
uint64_t acrossThreads(uint32_t packets, int producerCpu, uint64_t* cpuNs);

// What the device of the virtio rows did, in its life.
struct virtioCounts {
  uint64_t cycles;  // between the beginnings and ends of its turns
  uint64_t received;
  uint64_t sent;
  uint64_t starved;  // turns in which a port had fewer than 32 buffers for it
  uint64_t bad;      // descriptors, headers and frames that are not as they should be
};

// Two ports of weir's: for each the descriptors, available and used ring of receive and send, in bytes from `base`.
void virtioSetup(uint8_t* base, const uint32_t* offsets);
// The device's turn at weir's ports: 32 frames received at each, all that is to be sent taken. With 0 ports: nothing.
void virtioServe(uint32_t ports);
struct virtioCounts virtioCountsOf(bool weir);
// The same in C, device and driver: `passes` turns of the device, each with a burst forwarded from each port. Idle: without
// any work.
void loopVirtio(uint32_t passes);
void loopVirtioIdle(uint32_t passes);
// Errors and drops of the driver in C.
uint64_t virtioErrors(void);
