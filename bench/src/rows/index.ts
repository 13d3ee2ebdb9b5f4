/** Every row that is measured in one process, in the order of the table. */
import type { Row } from "../row.js";
import { forwardRows } from "./forward.js";
import { frameRows } from "./frames.js";
import { poolRows } from "./pool.js";
import { ringRows } from "./rings.js";
import { virtioRows } from "./virtio.js";

export const rows: readonly Row[] = [
  ...poolRows,
  ...ringRows,
  ...frameRows,
  ...forwardRows,
  ...virtioRows,
];
