/**
 * One function instance per queue.
 *
 * V8 treats what a closure captured as constants only while its source made exactly one closure. Queues that share a
 * burst function therefore pay for each mask and base address on every access: four queues on one factory cost 42-52
 * cycles a packet where an instance each costs 25-30 (bench: `specialise`). So a burst function is written as a
 * *template*, an ordinary type-checked function of its constants that returns the function to run, and is instantiated
 * from its own text for each queue.
 *
 * A template may use only its parameter, its own locals and globals: an imported name does not exist where it is
 * instantiated and throws a ReferenceError at its first use. Instances are collected like any other closure.
 */
export function specialise<K, F>(template: (constants: K) => F, constants: K, name: string): F {
  instances += 1;
  // The name must differ each time: V8 caches what it compiled by source text, and a hit would share the feedback
  // of the earlier instance, which is all that this function exists to avoid.
  // V8 takes no source URL with a space in it.
  const url = `weir:${name.replaceAll(" ", "-")}#${instances}`;
  const source = `"use strict"; return (${template.toString()});\n//# sourceURL=${url}`;
  const instantiate = new Function(source)() as (constants: K) => F;
  return instantiate(constants);
}

let instances = 0;
