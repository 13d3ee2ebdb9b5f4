// The forwarding loop over split virtqueues (VIRTIO 1.2, 2.7), and the device that serves both it and weir's.
//
// The driver is weir's (packages/drivers/src/virtio-net), for plain frames: one slot per buffer, mergeable, no IN_ORDER,
// low word of an address = offset. What weir's slow path takes (chains, flags) is counted as an error; no row has any.
//
// The device keeps account of the cycles that it spends, so that a row can leave them out.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define SIZE 256u
#define MASK (SIZE - 1)
#define BULK 32u
#define REAP_AT (2 * BULK)
#define PORTS 2u
#define SLICE 64u  // as weir's cache takes them back

#define HIGH 1u  // the window
#define HEADER_AT 116u
#define HEADER_BYTES 12u
#define FIRST (HEADROOM + 2048u - HEADER_AT)
#define FRAME_MIN 14u
#define FRAME_MAX 9728u
#define SHAPE_MASK 0xffu
#define F_WRITE 2u
#define NO_INTERRUPT 1u
#define NO_NOTIFY 1u

struct descriptor {
  uint32_t low;
  uint32_t high;
  uint32_t length;
  uint32_t flags;  // and next
};

struct header {
  uint32_t flags;
  uint32_t csumStart;
  uint32_t numBuffers;  // in the high half
};

struct available {
  _Atomic uint32_t index;  // flags in the low half
  uint16_t ring[];
};

struct used {
  _Atomic uint32_t index;  // flags in the low half
  struct {
    uint32_t id;
    uint32_t length;
  } ring[];
};

struct rings {
  struct descriptor* descriptors;
  struct available* available;
  struct used* used;
};

// ---- The device

struct deviceQueue {
  struct rings rings;
  uint16_t seen;  // available entries, and used ones: it uses all that it looks at
};

struct device {
  uint8_t* base;
  struct deviceQueue rx[PORTS];
  struct deviceQueue tx[PORTS];
  struct virtioCounts counts;
};

static struct device weirDevice;
static struct device ownDevice;

// Receives 32 frames. Their bytes are what lies there; the header is written, as a device does.
static void receive(struct device* d, struct deviceQueue* q) {
  struct available* const a = q->rings.available;
  struct used* const u = q->rings.used;
  const uint16_t there = (uint16_t)((atomic_load_explicit(&a->index, memory_order_acquire) >> 16) - q->seen);
  const uint32_t n = there < BURST ? there : BURST;
  if (n < BURST) d->counts.starved++;
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t at = (q->seen + i) & MASK;
    const uint32_t id = a->ring[at] & MASK;
    struct descriptor* const desc = &q->rings.descriptors[id];
    if (desc->high != HIGH || desc->length != FIRST || desc->flags != F_WRITE) d->counts.bad++;
    struct header* const h = (struct header*)(d->base + desc->low);
    *h = (struct header){.numBuffers = 1u << 16};
    u->ring[at].id = id;
    u->ring[at].length = HEADER_BYTES + FRAME_BYTES;
  }
  q->seen = (uint16_t)(q->seen + n);
  atomic_store_explicit(&u->index, (uint32_t)q->seen << 16, memory_order_release);
  d->counts.received += n;
}

// Sends all that is available, and looks whether it is what should be sent.
static void transmit(struct device* d, struct deviceQueue* q) {
  struct available* const a = q->rings.available;
  struct used* const u = q->rings.used;
  const uint16_t n = (uint16_t)((atomic_load_explicit(&a->index, memory_order_acquire) >> 16) - q->seen);
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t at = (q->seen + i) & MASK;
    const uint32_t id = a->ring[at] & MASK;
    struct descriptor* const desc = &q->rings.descriptors[id];
    const struct header* const h = (const struct header*)(d->base + desc->low);
    const uint32_t* const macs = (const uint32_t*)(h + 1);
    if (desc->high != HIGH || desc->length != HEADER_BYTES + FRAME_BYTES || desc->flags != 0 ||
        (h->flags | h->csumStart | h->numBuffers) != 0 || macs[0] != kMacs.w0 || macs[1] != kMacs.w1 ||
        macs[2] != kMacs.w2) {
      d->counts.bad++;
    }
    u->ring[at].id = id;
    u->ring[at].length = 0;
  }
  q->seen = (uint16_t)(q->seen + n);
  atomic_store_explicit(&u->index, (uint32_t)q->seen << 16, memory_order_release);
  d->counts.sent += n;
}

// Both ports' turn. With `ports` 0 it does nothing, between the same two looks at the clock.
static __attribute__((noinline)) void serve(struct device* d, uint32_t ports) {
  const uint64_t start = tscNow();
  for (uint32_t p = 0; p < ports; p++) {
    transmit(d, &d->tx[p]);
    receive(d, &d->rx[p]);
  }
  d->counts.cycles += tscNow() - start;
}

static struct rings ringsAt(uint8_t* base, const uint32_t* offsets) {
  return (struct rings){.descriptors = (struct descriptor*)(base + offsets[0]),
                        .available = (struct available*)(base + offsets[1]),
                        .used = (struct used*)(base + offsets[2])};
}

void virtioSetup(uint8_t* base, const uint32_t* offsets) {
  weirDevice = (struct device){.base = base};
  for (uint32_t p = 0; p < PORTS; p++) {
    weirDevice.rx[p].rings = ringsAt(base, offsets + 6 * p);
    weirDevice.tx[p].rings = ringsAt(base, offsets + 6 * p + 3);
  }
}

void virtioServe(uint32_t ports) { serve(&weirDevice, ports < PORTS ? ports : PORTS); }

struct virtioCounts virtioCountsOf(bool weir) { return weir ? weirDevice.counts : ownDevice.counts; }

// ---- The driver

struct stats {
  uint64_t packets;
  uint64_t bytes;
  uint64_t dropped;
  uint64_t errors;
};

struct queue {
  _Atomic int32_t running;
  _Atomic int32_t started;  // how often, which a burst compares with `epoch`
  int32_t epoch;
  uint32_t port;
  uint32_t holder;
  struct memory* memory;
  struct rings rings;
  _Atomic uint16_t doorbell;
  uint16_t seen;
  uint16_t offered;
  uint32_t free;
  uint32_t freeFirst;
  uint32_t freeLast;
  uint32_t spareCount;
  uint32_t held[SIZE];  // the shadow
  uint16_t freeIds[SIZE];
  uint32_t spare[SIZE];  // on the send side: what was used
  struct stats stats;
};

typedef uint32_t (*burst)(struct queue* q, uint32_t* handles, uint32_t n);

static __attribute__((noinline)) void begin(struct queue* q, uint32_t length, uint32_t flags) {
  q->epoch = atomic_load_explicit(&q->started, memory_order_relaxed);
  q->seen = 0;
  q->offered = 0;
  q->free = SIZE;
  q->freeFirst = 0;
  q->freeLast = SIZE;
  q->spareCount = 0;
  memset(q->held, 0, sizeof q->held);
  for (uint32_t id = 0; id < SIZE; id++) {
    q->freeIds[id] = (uint16_t)id;
    q->rings.descriptors[id].high = HIGH;
    q->rings.descriptors[id].length = length;
    q->rings.descriptors[id].flags = flags;
  }
}

// As weir's: an exchange, which orders all before it, and the look at the flags behind it.
static inline void publish(struct queue* q) {
  atomic_store_explicit(&q->rings.available->index, (uint32_t)q->offered << 16 | NO_INTERRUPT, memory_order_seq_cst);
  if ((atomic_load_explicit(&q->rings.used->index, memory_order_seq_cst) & NO_NOTIFY) == 0)
    atomic_store_explicit(&q->doorbell, 1, memory_order_relaxed);
}

static __attribute__((noinline)) void refillRing(struct queue* q) {
  struct memory* const m = q->memory;
  uint32_t have = q->spareCount;
  if (have < q->free) have += poolGet(m, q->spare + have, q->free - have, q->holder);
  const uint32_t count = have < q->free ? have : q->free;
  struct available* const a = q->rings.available;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t id = q->freeIds[(q->freeFirst + i) & MASK];
    const uint32_t handle = q->spare[--have];
    q->held[id] = handle;
    q->rings.descriptors[id].low = handle * STRIDE + HEADER_AT;
    uint16_t* const entry = &a->ring[(q->offered + i) & MASK];
    if (*entry != id) *entry = (uint16_t)id;
  }
  q->spareCount = have;
  q->offered = (uint16_t)(q->offered + count);
  q->freeFirst += count;
  q->free -= count;
  if (q->free == SIZE) q->stats.dropped++;
  if (count > 0) publish(q);
}

static __attribute__((noinline)) uint32_t splitRx(struct queue* q, uint32_t* handles, uint32_t n) {
  if (atomic_load_explicit(&q->running, memory_order_relaxed) != 1) return 0;
  if (atomic_load_explicit(&q->started, memory_order_relaxed) != q->epoch) begin(q, FIRST, F_WRITE);
  struct memory* const m = q->memory;
  struct used* const u = q->rings.used;
  const uint16_t index = (uint16_t)(atomic_load_explicit(&u->index, memory_order_acquire) >> 16);
  uint32_t pending = (uint16_t)(index - q->seen);
  if (pending > SIZE - q->free) {
    q->stats.errors++;
    q->seen = index;
    pending = 0;
  }
  const uint32_t word = (HOLDER_LCORE << HOLDER_SHIFT) | atomic_load_explicit(&m->clock, memory_order_relaxed);
  uint8_t* const bytes = m->bytes;
  uint32_t* const position = m->position;
  uint16_t* const dataLength = m->dataLength;
  uint32_t* const packetLength = m->packetLength;
  uint16_t* const port = m->port;
  uint32_t* const ledger = m->ledger;
  const uint16_t number = (uint16_t)q->port;
  const uint16_t seen = q->seen;
  const uint32_t freeLast = q->freeLast;
  uint64_t sum = 0;
  uint32_t count = 0;
  uint32_t looked = 0;
  uint32_t freed = 0;
  for (; count < n && looked < pending; looked++) {
    const uint32_t id = u->ring[(seen + looked) & MASK].id;
    const uint32_t size = u->ring[(seen + looked) & MASK].length;
    const uint32_t handle = (id & ~MASK) == 0 ? q->held[id] : 0;
    if (handle == 0) {
      q->stats.errors++;
      continue;
    }
    q->held[id] = 0;
    q->freeIds[(freeLast + freed++) & MASK] = (uint16_t)id;
    const uint32_t start = handle * STRIDE + HEADER_AT;
    const struct header* const h = (const struct header*)(bytes + start);
    if (size < HEADER_BYTES + FRAME_MIN || size > FIRST || (h->flags & 0xffff) != 0 || h->numBuffers >> 16 != 1) {
      q->spare[q->spareCount++] = handle;
      q->stats.errors++;
      continue;
    }
    ledger[handle] = word;
    position[handle] = start + HEADER_BYTES;
    dataLength[handle] = (uint16_t)(size - HEADER_BYTES);
    packetLength[handle] = size - HEADER_BYTES;
    port[handle] = number;
    handles[count++] = handle;
    sum += size - HEADER_BYTES;
  }
  q->seen = (uint16_t)(seen + looked);
  q->freeLast = freeLast + freed;
  q->free += freed;
  if (count > 0) {
    m->row[q->holder] -= (int32_t)count;
    m->row[HOLDER_LCORE] += (int32_t)count;
    q->stats.packets += count;
    q->stats.bytes += sum;
  }
  if (q->free >= BULK) refillRing(q);
  return count;
}

static __attribute__((noinline)) void reap(struct queue* q) {
  struct used* const u = q->rings.used;
  const uint16_t index = (uint16_t)(atomic_load_explicit(&u->index, memory_order_acquire) >> 16);
  const uint32_t pending = (uint16_t)(index - q->seen);
  if (pending > SIZE - q->free) {
    q->stats.errors++;
    q->seen = index;
    return;
  }
  uint32_t* const done = q->spare;
  uint32_t count = 0;
  for (uint32_t i = 0; i < pending; i++) {
    const uint32_t id = u->ring[(q->seen + i) & MASK].id;
    const uint32_t handle = (id & ~MASK) == 0 ? q->held[id] : 0;
    if (handle == 0) {
      q->stats.errors++;
      continue;
    }
    q->held[id] = 0;
    q->freeIds[(q->freeLast + count) & MASK] = (uint16_t)id;
    done[count++] = handle;
  }
  q->seen = index;
  q->freeLast += count;
  q->free += count;
  for (uint32_t from = 0; from < count; from += SLICE)
    poolPut(q->memory, done + from, count - from < SLICE ? count - from : SLICE, q->holder);
}

static __attribute__((noinline)) uint32_t splitTx(struct queue* q, uint32_t* handles, uint32_t n) {
  if (atomic_load_explicit(&q->running, memory_order_relaxed) != 1) return 0;
  if (atomic_load_explicit(&q->started, memory_order_relaxed) != q->epoch) begin(q, 0, 0);
  if (SIZE - q->free >= REAP_AT || q->free < n) reap(q);
  struct memory* const m = q->memory;
  const uint32_t word = (q->holder << HOLDER_SHIFT) | atomic_load_explicit(&m->clock, memory_order_relaxed);
  struct descriptor* const descriptors = q->rings.descriptors;
  struct available* const a = q->rings.available;
  uint32_t* const ledger = m->ledger;
  const uint32_t freeFirst = q->freeFirst;
  const uint16_t offered = q->offered;
  const uint32_t most = n < q->free ? n : q->free;
  uint64_t sum = 0;
  uint32_t taken = 0;
  uint32_t count = 0;
  for (; taken < most; taken++) {
    const uint32_t handle = handles[taken];
    const uint32_t size = m->dataLength[handle];
    const uint32_t at = m->position[handle] - HEADER_BYTES;
    if ((m->kind[handle] & SHAPE_MASK) != 0 || (ledger[handle] & HOLDER_MASK) != HOLDER_LCORE << HOLDER_SHIFT ||
        size < FRAME_MIN || size > FRAME_MAX || (int32_t)at < (int32_t)(handle * STRIDE) || (at & 3) != 0) {
      q->stats.errors++;
      continue;
    }
    struct header* const h = (struct header*)(m->bytes + at);
    if (h->flags != 0) h->flags = 0;
    if (h->csumStart != 0) h->csumStart = 0;
    if (h->numBuffers != 0) h->numBuffers = 0;
    const uint32_t id = q->freeIds[(freeFirst + count) & MASK];
    descriptors[id].low = at;
    descriptors[id].length = size + HEADER_BYTES;
    descriptors[id].flags = 0;
    q->held[id] = handle;
    ledger[handle] = word;
    sum += size;
    uint16_t* const entry = &a->ring[(offered + count) & MASK];
    if (*entry != id) *entry = (uint16_t)id;
    count++;
  }
  q->offered = (uint16_t)(offered + count);
  q->freeFirst = freeFirst + count;
  q->free -= count;
  if (count > 0) {
    m->row[HOLDER_LCORE] -= (int32_t)count;
    m->row[q->holder] += (int32_t)count;
    q->stats.packets += count;
    q->stats.bytes += sum;
    publish(q);
  }
  return taken;
}

static void forward(struct queue* rx, burst rxBurst, struct queue* tx, burst txBurst) {
  uint32_t handles[BURST];
  const uint32_t n = rxBurst(rx, handles, BURST);
  if (n == 0) return;
  writeMacs(rx->memory, handles, n, kMacs);
  const uint32_t sent = txBurst(tx, handles, n);
  if (sent < n) {
    poolPut(tx->memory, handles + sent, n - sent, HOLDER_LCORE);
    tx->stats.dropped += n - sent;
  }
}

static struct rings ringsMade(void) {
  uint8_t* const at = aligned_alloc(128, 8192);  // 4,096 + 518 + 2,054 bytes
  if (at == NULL) abort();
  memset(at, 0, 8192);
  const uint32_t offsets[3] = {0, 4096, 4864};
  return ringsAt(at, offsets);
}

static burst bursts_[2] = {splitRx, splitTx};  // not const: the compiler must not see which functions the loop calls

// queues: rx 0, tx 0, rx 1, tx 1
static struct queue queues[2 * PORTS];

void loopVirtio(uint32_t passes) {
  if (ownDevice.base == NULL) {
    struct memory* const m = memoryOf();
    ownDevice.base = m->bytes;
    for (uint32_t i = 0; i < 2 * PORTS; i++) {
      queues[i] = (struct queue){.running = 1,
                                 .started = 1,
                                 .port = i / 2,
                                 .holder = (i & 1 ? HOLDER_TXQ0 : HOLDER_RXQ0) + i / 2,
                                 .memory = m,
                                 .rings = ringsMade()};
      (i & 1 ? ownDevice.tx : ownDevice.rx)[i / 2].rings = queues[i].rings;
    }
  }
  const volatile burst* const bursts = bursts_;
  for (uint32_t pass = 0; pass < passes; pass++) {
    serve(&ownDevice, PORTS);
    forward(&queues[0], bursts[0], &queues[3], bursts[1]);
    forward(&queues[2], bursts[0], &queues[1], bursts[1]);
  }
}

void loopVirtioIdle(uint32_t passes) {
  for (uint32_t pass = 0; pass < passes; pass++) serve(&ownDevice, 0);
}

uint64_t virtioErrors(void) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < 2 * PORTS; i++) sum += queues[i].stats.errors + queues[i].stats.dropped;
  return sum;
}
