{
  "targets": [
    {
      "target_name": "weir_bench",
      "sources": ["src/module.c", "src/memory.c", "src/rings.c", "src/forward.c", "src/virtio.c"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["-O3", "-march=native", "-Wall", "-Wextra", "-Werror", "-pthread"],
      # node-gyp's own flags for C know no -O3 for the Release build alone
      "cflags!": ["-O2"],
      "ldflags": ["-pthread"]
    }
  ]
}
