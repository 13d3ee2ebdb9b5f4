/** The kernel's own stack through l2fwd over two simulated virtio-net cards: every frame crosses the driver's rings twice. */
import { testKernelPath } from "./fixtures/kernel-path.js";

testKernelPath(2, (index, tap) => `net_sim${index},model=virtio-net,tap=${tap},mtu=9000`);
