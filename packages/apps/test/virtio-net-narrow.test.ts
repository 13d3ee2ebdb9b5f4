/** Every test of the driver once more with a window that is narrow, where addresses go through the table. */
import "./fixtures/always-narrow.js"; // before the others: they read it as they load
import "./virtio-net.test.js";
import "./virtio-net-checksum.test.js";
import "./virtio-net-control.test.js";
import "./virtio-net-hostile.test.js";
