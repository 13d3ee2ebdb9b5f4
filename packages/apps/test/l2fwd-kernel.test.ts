/** The kernel's own stack through l2fwd over two net_tap ports. */
import { testKernelPath } from "./fixtures/kernel-path.js";

testKernelPath(1, (index, tap) => `net_tap${index},iface=${tap}`);
