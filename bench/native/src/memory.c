#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

static void* shared(size_t bytes) {
  // Shared pages of 4 KiB, as weir's arena without hugepages.
  void* const p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

struct memory* memoryOf(void) {
  static struct memory* made;
  if (made != NULL) return made;
  struct memory* const m = aligned_alloc(64, (sizeof *m + 63) / 64 * 64);
  if (m == NULL) return NULL;
  memset(m, 0, sizeof *m);
  m->bytes = shared((size_t)(SLOTS + 1) * STRIDE);
  m->position = calloc(SLOTS + 1, 4);
  m->dataLength = calloc(SLOTS + 1, 2);
  m->packetLength = calloc(SLOTS + 1, 4);
  m->kind = calloc(SLOTS + 1, 2);
  m->port = calloc(SLOTS + 1, 2);
  m->ledger = calloc(SLOTS + 1, 4);
  m->common = ringCreate(2 * SLOTS);
  if (!m->bytes || !m->position || !m->dataLength || !m->packetLength || !m->kind || !m->port || !m->ledger ||
      !m->common) {
    return NULL;
  }
  for (uint32_t handle = 1; handle <= SLOTS; handle++) {
    m->kind[handle] = KIND;
    mpmcEnqueue(m->common, &handle, 1);
  }
  m->row[HOLDER_FREE] = SLOTS;
  return made = m;
}

static __attribute__((noinline)) uint32_t refill(struct memory* m, uint32_t have, uint32_t want) {
  const uint32_t got = mpmcDequeue(m->common, m->stack + have, want - have);
  const uint32_t word = (HOLDER_CACHE << HOLDER_SHIFT) | atomic_load_explicit(&m->clock, memory_order_relaxed);
  for (uint32_t i = 0; i < got; i++) m->ledger[m->stack[have + i]] = word;
  m->row[HOLDER_FREE] -= (int32_t)got;
  m->row[HOLDER_CACHE] += (int32_t)got;
  return have + got;
}

static __attribute__((noinline)) uint32_t spill(struct memory* m, uint32_t have, uint32_t count) {
  const uint32_t word = (HOLDER_FREE << HOLDER_SHIFT) | atomic_load_explicit(&m->clock, memory_order_relaxed);
  for (uint32_t i = 0; i < count; i++) m->ledger[m->stack[i]] = word;
  mpmcEnqueue(m->common, m->stack, count);
  memmove(m->stack, m->stack + count, (have - count) * sizeof *m->stack);
  m->row[HOLDER_CACHE] -= (int32_t)count;
  m->row[HOLDER_FREE] += (int32_t)count;
  return have - count;
}

uint32_t poolGet(struct memory* m, uint32_t* handles, uint32_t n, uint32_t holder) {
  const uint32_t word = (holder << HOLDER_SHIFT) | atomic_load_explicit(&m->clock, memory_order_relaxed);
  uint32_t have = m->depth;
  if (have < n) have = refill(m, have, n + CACHE_SIZE);
  const uint32_t take = n < have ? n : have;
  uint32_t* const ledger = m->ledger;
  const uint32_t* const stack = m->stack;
  for (uint32_t i = 0; i < take; i++) {
    const uint32_t handle = stack[--have];
    handles[i] = handle;
    ledger[handle] = word;
  }
  m->depth = have;
  m->row[HOLDER_CACHE] -= (int32_t)take;
  m->row[holder] += (int32_t)take;
  return take;
}

// Refused returns are left alone, as weir's fault path does; no row has any.
void poolPut(struct memory* m, const uint32_t* handles, uint32_t n, uint32_t holder) {
  const uint32_t expected = holder << HOLDER_SHIFT;
  const uint32_t word = (HOLDER_CACHE << HOLDER_SHIFT) | atomic_load_explicit(&m->clock, memory_order_relaxed);
  uint32_t have = m->depth;
  if (have > 2 * CACHE_SIZE) have = spill(m, have, have - CACHE_SIZE);
  uint32_t* const ledger = m->ledger;
  uint32_t* const stack = m->stack;
  const uint16_t* const kind = m->kind;
  const uint32_t before = have;
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t handle = handles[i];
    if (kind[handle] == KIND && (ledger[handle] & HOLDER_MASK) == expected) {
      ledger[handle] = word;
      stack[have++] = handle;
    }
  }
  m->depth = have;
  m->row[holder] -= (int32_t)(have - before);
  m->row[HOLDER_CACHE] += (int32_t)(have - before);
}

void loopPool(uint32_t times) {
  struct memory* const m = memoryOf();
  uint32_t handles[BURST];
  for (uint32_t t = 0; t < times; t++) {
    const uint32_t got = poolGet(m, handles, BURST, HOLDER_LCORE);
    poolPut(m, handles, got, HOLDER_LCORE);
  }
}

static __attribute__((noinline)) void moveBurst(struct memory* m, const uint32_t* handles, uint32_t from, uint32_t to) {
  const uint32_t word = (to << HOLDER_SHIFT) | atomic_load_explicit(&m->clock, memory_order_relaxed);
  uint32_t moved = 0;
  for (uint32_t i = 0; i < BURST; i++) {
    const uint32_t handle = handles[i];
    if ((m->kind[handle] & CHAINED) == 0 && (m->ledger[handle] & HOLDER_MASK) == from << HOLDER_SHIFT) {
      m->ledger[handle] = word;
      moved++;
    }
  }
  m->row[from] -= (int32_t)moved;
  m->row[to] += (int32_t)moved;
}

void loopLedger(uint32_t times) {
  struct memory* const m = memoryOf();
  uint32_t handles[BURST];
  const uint32_t got = poolGet(m, handles, BURST, HOLDER_LCORE);
  if (got < BURST) return;
  for (uint32_t t = 0; t < times; t += 2) {
    moveBurst(m, handles, HOLDER_LCORE, HOLDER_TXQ0);
    moveBurst(m, handles, HOLDER_TXQ0, HOLDER_LCORE);
  }
  poolPut(m, handles, got, HOLDER_LCORE);
}
