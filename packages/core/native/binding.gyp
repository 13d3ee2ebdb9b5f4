{
  "targets": [
    {
      "target_name": "weir_native",
      "sources": [
        "src/module.cc",
        "src/args.cc",
        "src/region.cc",
        "src/ones.cc",
        "src/guard.cc",
        "src/cpu.cc",
        "src/frames.cc"
      ],
      # The headers only: as a dependency, node-addon-api would leave a node_modules directory beside build/.
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS", "_GNU_SOURCE"],
      "cflags!": ["-fno-exceptions"],
      "cflags": ["-O2", "-Wall", "-Wextra", "-Werror"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++17", "-fvisibility=hidden"],
      # The SIGBUS handler outlives every environment that loaded it: the object must never be unmapped.
      "ldflags": ["-Wl,-z,nodelete"]
    }
  ]
}
