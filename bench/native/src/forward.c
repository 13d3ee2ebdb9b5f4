// The forwarding loops: receive 32, rewrite the MAC addresses, send. Bursts are called through pointers, as
// rte_eth_rx_burst does and as weir's loop does.
#include <stddef.h>

#include "bench.h"

struct stats {
  uint64_t packets;
  uint64_t bytes;
  uint64_t dropped;
};

struct queue {
  _Atomic int32_t running;
  uint32_t port;
  uint32_t holder;
  struct ring* ring;
  struct memory* memory;
  struct stats stats;
};

typedef uint32_t (*burst)(struct queue* q, uint32_t* handles, uint32_t n);

static __attribute__((noinline)) uint32_t nullRx(struct queue* q, uint32_t* handles, uint32_t n) {
  if (atomic_load_explicit(&q->running, memory_order_relaxed) != 1) return 0;
  struct memory* const m = q->memory;
  const uint32_t got = poolGet(m, handles, n, HOLDER_LCORE);
  uint32_t* const position = m->position;
  uint16_t* const dataLength = m->dataLength;
  uint32_t* const packetLength = m->packetLength;
  uint16_t* const port = m->port;
  const uint16_t number = (uint16_t)q->port;
  for (uint32_t i = 0; i < got; i++) {
    const uint32_t handle = handles[i];
    position[handle] = handle * STRIDE + HEADROOM;
    dataLength[handle] = FRAME_BYTES;
    packetLength[handle] = FRAME_BYTES;
    port[handle] = number;
  }
  q->stats.packets += got;
  q->stats.bytes += (uint64_t)got * FRAME_BYTES;
  if (got < n) q->stats.dropped += n - got;
  return got;
}

static __attribute__((noinline)) uint32_t nullTx(struct queue* q, uint32_t* handles, uint32_t n) {
  if (atomic_load_explicit(&q->running, memory_order_relaxed) != 1) return 0;
  struct memory* const m = q->memory;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < n; i++) bytes += m->packetLength[handles[i]];
  poolPut(m, handles, n, HOLDER_LCORE);
  q->stats.packets += n;
  q->stats.bytes += bytes;
  return n;
}

static __attribute__((noinline)) uint32_t ringRx(struct queue* q, uint32_t* handles, uint32_t n) {
  if (atomic_load_explicit(&q->running, memory_order_relaxed) != 1) return 0;
  struct memory* const m = q->memory;
  const uint32_t got = spscDequeue(q->ring, handles, n);
  if (got == 0) return 0;
  const uint32_t word = (HOLDER_LCORE << HOLDER_SHIFT) | atomic_load_explicit(&m->clock, memory_order_relaxed);
  uint32_t* const ledger = m->ledger;
  const uint16_t* const kind = m->kind;
  const uint32_t* const packetLength = m->packetLength;
  uint16_t* const port = m->port;
  const uint16_t number = (uint16_t)q->port;
  uint64_t bytes = 0;
  uint32_t from = ledger[handles[0]] >> HOLDER_SHIFT;
  int32_t run = 0;
  for (uint32_t i = 0; i < got; i++) {
    const uint32_t handle = handles[i];
    if ((kind[handle] & CHAINED) != 0) continue;  // no row has any
    const uint32_t owner = ledger[handle] >> HOLDER_SHIFT;
    if (owner != from) {
      m->row[from] -= run;
      m->row[HOLDER_LCORE] += run;
      from = owner;
      run = 0;
    }
    ledger[handle] = word;
    run++;
    port[handle] = number;
    bytes += packetLength[handle];
  }
  m->row[from] -= run;
  m->row[HOLDER_LCORE] += run;
  q->stats.packets += got;
  q->stats.bytes += bytes;
  return got;
}

static __attribute__((noinline)) uint32_t ringTx(struct queue* q, uint32_t* handles, uint32_t n) {
  if (atomic_load_explicit(&q->running, memory_order_relaxed) != 1) return 0;
  struct memory* const m = q->memory;
  struct ring* const r = q->ring;
  const uint32_t head = atomic_load_explicit(&r->producerTail, memory_order_relaxed);
  uint32_t room = r->mask + 1 + r->seenTail - head;
  if (room < n) {
    r->seenTail = atomic_load_explicit(&r->consumerTail, memory_order_acquire);
    room = r->mask + 1 + r->seenTail - head;
    if (n > room) n = room;
    if (n == 0) return 0;
  }
  const uint32_t word = (q->holder << HOLDER_SHIFT) | atomic_load_explicit(&m->clock, memory_order_relaxed);
  uint32_t* const ledger = m->ledger;
  const uint16_t* const kind = m->kind;
  const uint32_t* const packetLength = m->packetLength;
  uint32_t* const entries = r->entries;
  const uint32_t mask = r->mask;
  uint64_t bytes = 0;
  uint32_t plain = 0;
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t handle = handles[i];
    if ((kind[handle] & CHAINED) != 0 || (ledger[handle] & HOLDER_MASK) != HOLDER_LCORE << HOLDER_SHIFT) continue;
    ledger[handle] = word;
    bytes += packetLength[handle];
    entries[(head + plain) & mask] = handle;
    plain++;
  }
  atomic_store_explicit(&r->producerTail, head + plain, memory_order_release);
  m->row[HOLDER_LCORE] -= (int32_t)plain;
  m->row[q->holder] += (int32_t)plain;
  q->stats.packets += plain;
  q->stats.bytes += bytes;
  return n;
}

static void forward(struct queue* rx, burst rxBurst, struct queue* tx, burst txBurst, struct macs macs) {
  uint32_t handles[BURST];
  const uint32_t n = rxBurst(rx, handles, BURST);
  if (n == 0) return;
  writeMacs(rx->memory, handles, n, macs);
  const uint32_t sent = txBurst(tx, handles, n);
  if (sent < n) {
    poolPut(tx->memory, handles + sent, n - sent, HOLDER_LCORE);
    tx->stats.dropped += n - sent;
  }
}

// Not const: the compiler must not see which functions the loop calls.
static burst nullBursts[2] = {nullRx, nullTx};
static burst ringBursts[2] = {ringRx, ringTx};

void loopNull(uint32_t times) {
  static struct queue queues[4];
  struct memory* const m = memoryOf();
  for (uint32_t i = 0; i < 4; i++) queues[i] = (struct queue){.running = 1, .port = i / 2, .memory = m};
  const volatile burst* const bursts = nullBursts;
  for (uint32_t t = 0; t < times; t += 2) {
    forward(&queues[0], bursts[0], &queues[3], bursts[1], kMacs);
    forward(&queues[2], bursts[0], &queues[1], bursts[1], kMacs);
  }
}

void loopRing(uint32_t times) {
  static struct queue queues[4];
  struct memory* const m = memoryOf();
  if (queues[0].memory == NULL) {
    struct ring* rings[2] = {ringCreate(1024), ringCreate(1024)};
    for (uint32_t i = 0; i < 4; i++) {
      queues[i] = (struct queue){
          .running = 1, .port = i / 2, .holder = HOLDER_TXQ0 + i / 2, .ring = rings[i / 2], .memory = m};
    }
    for (uint32_t i = 0; i < PRIMED_FRAMES / BURST; i++) {
      uint32_t handles[BURST];
      const uint32_t got = poolGet(m, handles, BURST, HOLDER_LCORE);
      for (uint32_t h = 0; h < got; h++) {
        m->position[handles[h]] = handles[h] * STRIDE + HEADROOM;
        m->dataLength[handles[h]] = FRAME_BYTES;
        m->packetLength[handles[h]] = FRAME_BYTES;
      }
      ringTx(&queues[i & 1 ? 1 : 3], handles, got);
    }
  }
  const volatile burst* const bursts = ringBursts;
  for (uint32_t t = 0; t < times; t += 2) {
    forward(&queues[0], bursts[0], &queues[3], bursts[1], kMacs);
    forward(&queues[2], bursts[0], &queues[1], bursts[1], kMacs);
  }
}

static uint32_t* heldFrames(struct memory* m, uint32_t* handles) {
  const uint32_t got = poolGet(m, handles, BURST, HOLDER_LCORE);
  for (uint32_t i = 0; i < got; i++) m->position[handles[i]] = handles[i] * STRIDE + HEADROOM;
  return got == BURST ? handles : NULL;
}

static __attribute__((noinline)) void swapBurst(struct memory* m, const uint32_t* handles) {
  for (uint32_t i = 0; i < BURST; i++) {
    uint32_t* const at = (uint32_t*)(m->bytes + m->position[handles[i]]);
    const uint32_t w0 = at[0], w1 = at[1], w2 = at[2];
    at[0] = (w1 >> 16) | (w2 << 16);
    at[1] = (w2 >> 16) | (w0 << 16);
    at[2] = (w0 >> 16) | (w1 << 16);
  }
}

static __attribute__((noinline)) void writeBurst(struct memory* m, const uint32_t* handles, struct macs macs) {
  writeMacs(m, handles, BURST, macs);
}

void loopSwapMacs(uint32_t times) {
  struct memory* const m = memoryOf();
  uint32_t handles[BURST];
  if (heldFrames(m, handles) == NULL) return;
  for (uint32_t t = 0; t < times; t++) swapBurst(m, handles);
  poolPut(m, handles, BURST, HOLDER_LCORE);
}

void loopWriteMacs(uint32_t times) {
  struct memory* const m = memoryOf();
  uint32_t handles[BURST];
  if (heldFrames(m, handles) == NULL) return;
  for (uint32_t t = 0; t < times; t++) writeBurst(m, handles, kMacs);
  poolPut(m, handles, BURST, HOLDER_LCORE);
}
